/* The processor's name, from what Linux writes into /proc/cpuinfo. x86 says "model name"; arm64
 * gives the numbers of the implementer and the part for each core, and seldom anything else. */
#include "base/cpu_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

enum { LINE_BYTES = 512, PATH_BYTES = 1024 };

/* MIDR numbers of cores that run Linux and Android today (Arm's technical reference manuals; the
 * kernel's arch/arm64/include/asm/cputype.h), in each implementer's order of speed. */
static const struct {
    int implementer, part;
    const char *name;
} CORES[] = {
    {0x41, 0xd03, "Cortex-A53"},      {0x41, 0xd04, "Cortex-A35"},
    {0x41, 0xd05, "Cortex-A55"},      {0x41, 0xd46, "Cortex-A510"},
    {0x41, 0xd80, "Cortex-A520"},     {0x41, 0xd07, "Cortex-A57"},
    {0x41, 0xd08, "Cortex-A72"},      {0x41, 0xd09, "Cortex-A73"},
    {0x41, 0xd0a, "Cortex-A75"},      {0x41, 0xd0b, "Cortex-A76"},
    {0x41, 0xd0c, "Neoverse-N1"},     {0x41, 0xd0d, "Cortex-A77"},
    {0x41, 0xd41, "Cortex-A78"},      {0x41, 0xd44, "Cortex-X1"},
    {0x41, 0xd40, "Neoverse-V1"},     {0x41, 0xd47, "Cortex-A710"},
    {0x41, 0xd4d, "Cortex-A715"},     {0x41, 0xd81, "Cortex-A720"},
    {0x41, 0xd49, "Neoverse-N2"},     {0x41, 0xd48, "Cortex-X2"},
    {0x41, 0xd4e, "Cortex-X3"},       {0x41, 0xd4f, "Neoverse-V2"},
    {0x41, 0xd82, "Cortex-X4"},       {0x46, 0x001, "A64FX"},
    {0x48, 0xd01, "Kunpeng 920"},     {0x51, 0x803, "Kryo 385 Silver"},
    {0x51, 0x805, "Kryo 485 Silver"}, {0x51, 0x802, "Kryo 385 Gold"},
    {0x51, 0x804, "Kryo 485 Gold"},   {0x51, 0x001, "Oryon"},
    {0x61, 0x022, "Apple M1"},        {0x61, 0x023, "Apple M1"},
    {0x61, 0x032, "Apple M2"},        {0x61, 0x033, "Apple M2"},
    {0xc0, 0xac3, "Ampere-1"},
};
enum { N_CORES = sizeof CORES / sizeof *CORES };

/* The value after "key : ", or NULL when the line has another key. */
static char *value_of(char *line, const char *key) {
    const size_t n = strlen(key);
    if (strncmp(line, key, n) != 0 || !strchr("\t :", line[n]))
        return NULL;
    char *colon = strchr(line, ':');
    if (!colon)
        return NULL;
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t end = strcspn(value, "\n");
    while (end > 0 && strchr(" \t", value[end - 1]))
        end--;
    value[end] = '\0';
    return *value ? value : NULL;
}

static int core_of(int implementer, int part) {
    for (int i = 0; i < N_CORES; i++)
        if (CORES[i].implementer == implementer && CORES[i].part == part)
            return i;
    return -1;
}

#if defined(__APPLE__)
void hn_cpu_name_read(const char *root, char *out, size_t bytes) {
    (void)root;
    if (sysctlbyname("machdep.cpu.brand_string", out, &bytes, NULL, 0) != 0)
        snprintf(out, bytes, "unknown");
}
#else
void hn_cpu_name_read(const char *root, char *out, size_t bytes) {
    char line[LINE_BYTES], path[PATH_BYTES];
    int implementer = -1, part = -1, best = -1;
    snprintf(out, bytes, "unknown");
    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *value = value_of(line, "model name"); /* x86, and Android's 32-bit view */
        if (value) {
            snprintf(out, bytes, "%s", value);
            best = -1;
            implementer = part = -1;
            break;
        }
        if ((value = value_of(line, "CPU implementer")) != NULL)
            implementer = (int)strtol(value, NULL, 0);
        if ((value = value_of(line, "CPU part")) != NULL) {
            part = (int)strtol(value, NULL, 0);
            const int core = core_of(implementer, part);
            best = core > best ? core : best;
        }
    }
    if (f)
        fclose(f);
    if (best >= 0)
        snprintf(out, bytes, "%s", CORES[best].name);
    else if (part >= 0)
        snprintf(out, bytes, "arm64 implementer 0x%02x part 0x%03x", (unsigned)implementer,
                 (unsigned)part);
}
#endif
