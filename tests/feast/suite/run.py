"""Runs Feast's own universal test suite against our stores.

    python tests/feast/suite/run.py CHECKOUT/sdk/python [PYTEST OPTIONS]

The checkout is of Feast's repository, at the release that is installed; only its ``tests`` are used. A Valkey server is started
for the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SUITE = (
    "tests/integration/online_store/test_universal_online.py",
    "tests/integration/online_store/test_universal_e2e.py",
    "tests/integration/online_store/test_universal_online_types.py",
    "tests/integration/online_store/test_push_features_to_online_store.py",
    "tests/integration/offline_store/test_universal_historical_retrieval.py",
    "tests/integration/offline_store/test_universal_materialization.py",
    "tests/integration/offline_store/test_universal_types.py",
    "tests/integration/offline_store/test_non_entity_mode.py",
    "tests/integration/offline_store/test_persist.py",
    "tests/integration/offline_store/test_offline_write.py",
    "tests/integration/offline_store/test_feature_logging.py",
    "tests/integration/offline_store/test_push_features_to_offline_store.py",
    "tests/integration/materialization/test_universal_materialization.py",
)


def main(checkout: Path, options: list[str]) -> int:
    """Run it; the exit code of pytest."""
    sys.path.insert(0, str(ROOT))
    from tests.servers.valkey import valkey_server

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # Only the tests: the package beside them must not stand in for the one that is installed.
        (folder / "tests").symlink_to(checkout.resolve() / "tests")
        (folder / "pytest.ini").symlink_to(checkout.resolve() / "pytest.ini")
        with valkey_server(folder / "valkey") as server:
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(HERE)]),
                "FULL_REPO_CONFIGS_MODULE": "featurestore_suite",
                "FEATURESTORE_SUITE_URL": server.url,
                "FEAST_IS_LOCAL_TEST": "True",
            }
            command = [sys.executable, "-m", "pytest", *SUITE, "--integration", "-p", "expected_differences", *options]
            return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
