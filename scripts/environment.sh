# Sourced by the other scripts. Creates .venv and installs the project into it, once.

# If this variable were set, every command would compile all modules again.
unset PYTHONDONTWRITEBYTECODE

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "Python 3.11 or newer is required but was not found." >&2
    return 1
}

# make_environment: create .venv, and set `pip` to the command that installs into it.
make_environment() {
    local python
    if [ -x .venv/bin/python ] && .venv/bin/python -m pip --version > /dev/null 2>&1; then
        pip=(.venv/bin/python -m pip)
        return
    fi
    python=$(find_python)
    echo "creating .venv with $("$python" --version)" >&2
    # Use an existing pip to install into .venv, because unpacking another pip takes seconds.
    pip=("$python" -m pip --python .venv/bin/python)
    "$python" -m venv --without-pip .venv
    if ! "${pip[@]}" --version > /dev/null 2>&1; then
        pip=(.venv/bin/python -m pip)
        if ! "$python" -m venv .venv; then
            echo "Python's venv module does not work; on Debian: apt install python3-venv" >&2
            rm -rf .venv
            return 1
        fi
    fi
}

# choose_compiler: without a C compiler, install Zig's from PyPI into .venv, for this build only.
choose_compiler() {
    local include name names
    include=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if ! [ -e "$include/Python.h" ]; then
        echo "$include/Python.h is missing: install Python's headers; on Debian: apt install python3-dev" >&2
        return 1
    fi
    names=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("CC").split()[0])')
    for name in ${CC:-"$names"} gcc clang cc; do
        if command -v "$name" > /dev/null; then
            [ "$name" = "$names" ] || export CC=${CC:-$name}
            return
        fi
    done
    echo "installing Zig, which contains a C compiler" >&2
    "${pip[@]}" install --quiet --disable-pip-version-check ziglang
    CC="$(.venv/bin/python -c 'import ziglang; print(ziglang.__path__[0])')/zig cc"
    export CC
}

# install_project EXTRAS: install the project, unless it is up to date. EXTRAS is empty or, for example, [dev].
install_project() {
    local extras=$1 sum stamp libraries others
    sum=$(cat pyproject.toml setup.py stream_perceptron/*/*.pyx \
        stream_perceptron/*/*/*.{pyx,h} | cksum | cut -d ' ' -f 1)
    stamp=.venv/installed$extras-$sum
    if [ -e "$stamp" ] && .venv/bin/python -c 'import stream_perceptron' 2>/dev/null; then
        return
    fi
    make_environment
    choose_compiler
    echo "installing stream-perceptron$extras" >&2
    # Install the dependencies while the modules compile.
    libraries=$(.venv/bin/python - "$extras" <<'END'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = sys.argv[1].strip("[]").split(",")
groups = [project["optional-dependencies"][name] for name in extras if name]
print(*sorted({"pip", *project["dependencies"]}.union(*groups)), sep="\n")
END
    )
    mapfile -t libraries <<< "$libraries"
    "${pip[@]}" install --quiet --disable-pip-version-check "${libraries[@]}" &
    others=$!
    if ! "${pip[@]}" install --quiet --disable-pip-version-check --no-deps --editable .; then
        kill "$others" 2>/dev/null
        return 1
    fi
    wait "$others"
    find .venv -maxdepth 1 -name 'installed*' ! -name "*-$sum" -delete
    touch "$stamp"
}
