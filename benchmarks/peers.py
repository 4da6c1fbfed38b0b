"""Peers in an environment of their own, timed there, in rounds interleaved with ours.

adelie needs NumPy 1, so that celer, skglm and adelie live in ``build/peers``; the first use
makes it from ``benchmarks/requirements.txt``.  A peer that cannot be installed is absent, and
only its own fits fail.  `Peers` starts one process there, gives it the
data once, and then asks for one fit at a time: the seconds are taken inside that process, and the
coefficients come back to be judged by the same function as ours.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "peers"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
NAMES = ("celer", "skglm", "adelie")


@cache
def python() -> Path:
    """Give the interpreter of the peers' environment, made and filled where it is absent."""
    ready, program = FOLDER / ".ready", FOLDER / "bin" / "python"
    wanted = REQUIREMENTS.read_text()
    if ready.exists() and ready.read_text() == wanted:
        return program
    venv.create(FOLDER, with_pip=True, clear=True)
    pip = [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    failed = [
        name for name in ("numpy", *NAMES)
        if subprocess.run([*pip, "-c", REQUIREMENTS, name], check=False).returncode
    ]  # fmt: skip
    if failed:
        print(f"no {', '.join(failed)} in {FOLDER}: pip failed", file=sys.stderr)
    else:
        ready.write_text(wanted)
    return program


class Peers:
    """A process of the peers' environment that holds one X and y.

    Use it as a context manager: ``with Peers(X, y) as peers: peers.fit("celer", alpha=0.1)``.
    """

    def __init__(self, X: Any, y: np.ndarray, threads: int | None = None):
        self.folder = tempfile.TemporaryDirectory()
        self.place = Path(self.folder.name)
        if isinstance(X, np.ndarray):
            np.save(self.place / "X.npy", X)
        else:
            from scipy import sparse

            sparse.save_npz(self.place / "X.npz", X, compressed=False)
        np.save(self.place / "y.npy", y)
        env = dict(os.environ)
        if threads is not None:
            env |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [python(), "-c", WORKER, self.place], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=env,
        )  # fmt: skip
        self.versions: dict[str, str] = self._ask({"do": "versions"})["versions"]

    def fit(self, name: str, **task: Any) -> tuple[float, np.ndarray]:
        """Give (seconds, coefficients (p,) or (alphas, p)) of one fit.

        ``task`` holds ``alpha`` or ``alphas``, ``tol`` and ``fit_intercept``.

        Raises
        ------
        RuntimeError
            The peer raised; the message is its own.
        """
        seconds = self.time(name, keep=True, **task)
        return seconds, np.load(self.place / "coef.npy")

    def time(self, name: str, keep: bool = False, **task: Any) -> float:
        """Give the seconds of one fit; without ``keep`` its coefficients are dropped."""
        found = self._ask({"do": "fit", "name": name, "keep": keep, **task})
        if "error" in found:
            raise RuntimeError(f"{name}: {found['error']}")
        return found["seconds"]

    def _ask(self, request: dict) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peers' process ended with {self.process.wait()}")
        return json.loads(answer)

    @property
    def alive(self) -> bool:
        """Tell whether the process still answers."""
        return self.process.poll() is None

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, *reason) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its data."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


# runs in the peers' environment, where nothing of ours is installed
WORKER = """
import json, os, sys, time, warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import numpy as np

warnings.simplefilter("ignore")
place = Path(sys.argv[1])
y = np.load(place / "y.npy")
if (place / "X.npy").exists():
    X = np.asfortranarray(np.load(place / "X.npy"))
else:
    from scipy import sparse
    X = sparse.csc_matrix(sparse.load_npz(place / "X.npz"))
out = os.fdopen(os.dup(1), "w")
# what a peer prints is no answer
os.dup2(2, 1)


def celer(alphas, tol, fit_intercept):
    if len(alphas) > 1:
        from celer import celer_path
        centred = (X - X.mean(0), y - y.mean()) if fit_intercept else (X, y)
        return celer_path(*centred, "lasso", alphas=np.array(alphas), tol=tol)[1].T
    from celer import Lasso
    return Lasso(alphas[0], tol=tol, fit_intercept=fit_intercept).fit(X, y).coef_


def skglm(alphas, tol, fit_intercept):
    from skglm import Lasso
    found, model = [], Lasso(tol=tol, fit_intercept=fit_intercept, warm_start=True)
    for alpha in alphas:
        model.alpha = alpha
        found.append(model.fit(X, y).coef_.copy())
    return found[0] if len(alphas) == 1 else np.array(found)


def adelie(alphas, tol, fit_intercept):
    import adelie as ad
    state = ad.grpnet(
        X=X, glm=ad.glm.gaussian(y), lmda_path=np.array(alphas), tol=tol,
        intercept=fit_intercept, progress_bar=False, early_exit=False,
    )
    found = state.betas.toarray()
    return found[0] if len(alphas) == 1 else found


def version_of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


fits = {"celer": celer, "skglm": skglm, "adelie": adelie}
for line in sys.stdin:
    task = json.loads(line)
    if task["do"] == "versions":
        answer = {"versions": {name: version_of(name) for name in (*fits, "numpy", "numba")}}
    else:
        alphas = task.get("alphas") or [task["alpha"]]
        options = (alphas, task.get("tol", 1e-6), task.get("fit_intercept", True))
        try:
            start = time.perf_counter()
            coef = fits[task["name"]](*options)
            answer = {"seconds": time.perf_counter() - start}
            if task.get("keep"):
                np.save(place / "coef.npy", np.asarray(coef, np.float64))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
    out.write(json.dumps(answer) + "\\n")
    out.flush()
"""


def main() -> int:
    """Make the environment and print its versions."""
    print(python())
    with Peers(np.eye(4), np.arange(4.0)) as peers:
        print(json.dumps(peers.versions))
    return 0


if __name__ == "__main__":
    sys.exit(main())
