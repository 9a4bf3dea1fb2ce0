"""llama.cpp's programs, from the source package of llama-cpp-python, built once in a cache folder."""
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile

VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"


def cache_folder():
    cache = os.environ.get("HONE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hone")
    return os.path.join(cache, "peers")


def check_sum(path):
    with open(path, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != SHA256:
        sys.exit(f"{path}: the SHA-256 is {found}, not {SHA256}: remove the file and try again")


def download(folder):
    """The source package; pip checks its sum before it looks inside."""
    requirements = os.path.join(folder, "requirements.txt")
    with open(requirements, "w", encoding="utf-8") as file:
        file.write(f"llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n")
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                    "--require-hashes", "-r", requirements, "-d", folder], check=True)


def build(program_name="llama-bench"):
    """The path of llama-bench or llama-server; minutes the first time."""
    folder = cache_folder()
    os.makedirs(folder, exist_ok=True)
    serves = program_name == "llama-server"
    place = os.path.join(folder, f"llama.cpp-{VERSION}" + ("-server" if serves else ""))
    program = os.path.join(place, "bin", program_name)
    if os.path.exists(program):
        return program
    archive = os.path.join(folder, ARCHIVE)
    if not os.path.exists(archive):
        download(folder)
    check_sum(archive)
    for tool in ("cmake", "c++"):
        if not shutil.which(tool):
            sys.exit(f"building the peer needs {tool}; --peer PATH takes a {program_name} that is there already")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    source = os.path.join(folder, ARCHIVE[:-len(".tar.gz")])
    with open(os.path.join(folder, "build.log"), "w", encoding="utf-8") as log:
        for command in (["cmake", "-S", os.path.join(source, "vendor", "llama.cpp"), "-B", place + ".part",
                         "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF",
                         "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", f"-DLLAMA_BUILD_SERVER={'ON' if serves else 'OFF'}",
                         "-DBUILD_SHARED_LIBS=OFF"],
                        ["cmake", "--build", place + ".part", "--target", program_name, "-j",
                         str(len(os.sched_getaffinity(0)))]):
            if subprocess.run(command, stdout=log, stderr=log).returncode:
                sys.exit(f"building the peer failed: {log.name}")
    os.rename(place + ".part", place)
    shutil.rmtree(source)
    return program
