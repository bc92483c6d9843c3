# Sourced by the other scripts: makes .venv and installs the project into it, once.

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "Python 3.11 or newer is needed, and was not found." >&2
    return 1
}

# install_project EXTRAS: EXTRAS is empty or like [dev]; nothing is done where nothing changed.
install_project() {
    local extras=$1 stamp
    stamp=.venv/installed$extras-$(cat pyproject.toml setup.py stream_perceptron/*/*.pyx stream_perceptron/*/*/*.pyx \
        stream_perceptron/*/*/*.h | cksum | cut -d ' ' -f 1)
    if [ -e "$stamp" ] && .venv/bin/python -c 'import stream_perceptron' 2>/dev/null; then
        return
    fi
    if ! [ -x .venv/bin/python ]; then
        local python
        python=$(find_python)
        echo "make .venv with $("$python" --version)" >&2
        if ! "$python" -m venv .venv; then
            echo "Python's venv module does not work here; on Debian: apt install python3-venv" >&2
            rm -rf .venv
            return 1
        fi
    fi
    echo "install stream-perceptron$extras" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras"
    touch "$stamp"
}
