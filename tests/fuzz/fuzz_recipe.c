/* Recipes from any bytes: parsed or refused, never a crash; what is accepted keeps its promises. */
#include "pipeline/recipe.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hn_recipe recipe;
    hn_error err;
    if (hn_recipe_parse(&recipe, (const char *)data, size, "fuzz", "dir", false, &err) != HN_OK)
        return 0;
    bool whole = recipe.name && recipe.base && recipe.data.golden && recipe.data.train.n > 0 &&
                 recipe.sft.rank >= 1 && recipe.n_artefacts <= HN_RECIPE_MAX_ARTEFACTS;
    for (int i = 0; i < recipe.n_artefacts; i++)
        whole = whole && recipe.artefacts[i].name;
    if (!whole)
        abort();
    hn_recipe_done(&recipe);
    return 0;
}
