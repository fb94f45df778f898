#!/usr/bin/env bash
# Runs run.py with the CUDA libraries that PyTorch brings. HSSL_PYTHON names another Python.
set -euo pipefail
cd "$(dirname "$0")"
[ ! -f programs.tar.gz ] || tar -xzf programs.tar.gz
python="${HSSL_PYTHON:-python3}"
libraries=$("$python" - <<'PY'
import glob, os, site, torch
roots = {os.path.dirname(os.path.dirname(torch.__file__)), *site.getsitepackages()}
print(":".join(sorted({path for root in roots for path in glob.glob(f"{root}/nvidia/*/lib")})))
PY
)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$python" run.py "$@"
