"""The Debian package, looked at from outside: what lintian says of it, what is in it, and whether it is made the same twice.

How it installs, is upgraded and goes away again, is in ApplianceTests/test_installation.py.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "packaging" / "man").iterdir())


@pytest.fixture(scope="module")
def package():
    """$STATION_PACKAGE, or what packaging/build-deb has made last."""
    if "STATION_PACKAGE" in os.environ:
        return pathlib.Path(os.environ["STATION_PACKAGE"])
    found, = ROOT.glob(".build/flashing-station_*.deb")
    return found


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def test_lintian_has_nothing_to_say(package):
    said = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", package],
                          capture_output=True, text=True)
    print(said.stdout, said.stderr)
    assert said.returncode == 0 and not re.search("^[EW]:", said.stdout, re.MULTILINE)
    overrides = (ROOT / "packaging" / "debian" / "lintian-overrides").read_text()
    assert overrides.startswith("# "), "every override has its reason"


def test_the_same_programs_make_the_same_package(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("stationctl", "stationd", "station-writer", "station-library"):
        shutil.copy("/bin/true", programs / name)
    # A copy of the tree, so that the package of the real programs stays where it is; made at another time and by another umask.
    digests = []
    for umask in (0o022, 0o077):
        tree = tmp_path / f"tree{umask}"
        tree.mkdir()
        for name in ("packaging", "systemd", "udev", "profiles"):
            shutil.copytree(ROOT / name, tree / name, symlinks=True)
        for name in ("README.md", "SAFETY.md", "CHANGELOG.md"):
            shutil.copy(ROOT / name, tree)
        made = run(tree / "packaging" / "build-deb", "--programs", programs, umask=umask).strip()
        digests.append(run("sha256sum", tree / made).split()[0])
    assert digests[0] == digests[1]


def test_it_names_its_version_once(package, programs):
    version = run(os.path.join(programs, "stationctl"), "--version").split()[-1]
    assert run("dpkg-deb", "-f", package, "Version").strip() == version


def test_it_depends_on_debians_libraries_and_on_nothing_of_swift(package):
    depends = run("dpkg-deb", "-f", package, "Depends")
    assert "swift" not in depends.lower()
    for library in ("libudev1", "libsystemd0", "libsqlite3-0", "libcurl4", "libarchive13", "libyaml-0-2", "libblkid1", "libssl3"):
        assert re.search(rf"\b{re.escape(library)}\b", depends), library
    recommended = set(re.split(r",\s*", run("dpkg-deb", "-f", package, "Recommends").strip()))
    # What README tells those who build themselves, and what verifies OpenPGP signatures.
    told = re.search(r"sudo apt install (bubblewrap [^`]+)`", (ROOT / "README.md").read_text())[1]
    assert recommended == set(told.split()) | {"gpgv"}
    # And what doctor looks for: a program of each.
    source = (ROOT / "Sources" / "stationctl" / "HostExamination.swift").read_text()
    looked_for = set(re.findall(r'\("[a-z0-9]+", "([a-z0-9-]+)"\)', source))
    assert looked_for == set(told.split())


def test_everything_is_where_an_admin_expects_it(package):
    there = {line.split()[-1].lstrip(".") for line in run("dpkg-deb", "-c", package).splitlines()}
    expected = ["/usr/bin/stationctl", "/etc/flashing-station/station.conf", "/etc/flashing-station/slots.d/",
                "/etc/flashing-station/station.conf.d/", "/etc/flashing-station/keys/",
                "/usr/lib/sysusers.d/flashing-station.conf", "/usr/lib/tmpfiles.d/flashing-station.conf",
                "/usr/lib/systemd/catalog/flashing-station.catalog", "/usr/share/zsh/vendor-completions/_stationctl",
                "/usr/share/bash-completion/completions/stationctl", "/lib/systemd/system/stationd.service"]
    expected += [f"/usr/share/man/man{page.suffix[1:]}/{page.name}.gz" for page in PAGES]
    expected += [f"/lib/udev/rules.d/{rules.name}" for rules in (ROOT / "udev").iterdir()]
    assert not [path for path in expected if path not in there]
    owners = {line.split()[1] for line in run("dpkg-deb", "-c", package).splitlines()}
    assert owners == {"root/root"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_man_page_is_well_made_and_says_what_it_is(page):
    # whatis finds a page by its NAME line alone.
    rendered = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-P", "cat", page], capture_output=True, text=True,
                              env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert re.search(rf"^NAME\n +{re.escape(page.stem)}", rendered.stdout, re.MULTILINE), rendered.stdout[:400]
    referred = set(re.findall(r"\b((?:station[\w.-]*|flashing-station))\((\d)\)", rendered.stdout))
    known = {(other.stem, other.suffix[1:]) for other in PAGES}
    assert referred <= known, referred - known


def test_a_directory_of_drop_ins_that_the_writer_cannot_read_is_no_empty_one(programs, tmp_path):
    # What is protected in it would not be.
    (tmp_path / "station.conf.d").mkdir(mode=0o700)
    (tmp_path / "station.conf.d" / "site.conf").write_text("[Guard]\nProtectedLabels=precious\n")
    tmp_path.chmod(0o755)
    with tempfile.TemporaryDirectory() as there:
        # Where nobody may go.
        os.chmod(there, 0o755)
        shutil.copytree(tmp_path, f"{there}/etc")
        shutil.copy(os.path.join(programs, "stationd"), there)
        os.chmod(f"{there}/etc/station.conf.d", 0o700)
        checked = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", f"{there}/stationd", "--check-config", "--config",
                                  f"{there}/etc"], capture_output=True, text=True)
        assert checked.returncode == 1 and "station.conf.d cannot be read" in checked.stderr, checked


def test_every_key_of_the_configuration_is_in_its_man_page():
    # That the file names them all, with their defaults, is tested beside the code that reads it.
    text = (ROOT / "packaging" / "station.conf").read_text()
    page = (ROOT / "packaging" / "man" / "station.conf.5").read_text()
    keys = re.findall(r"^#([A-Z]\w+)=", text, re.MULTILINE)
    assert len(keys) > 15
    for key in keys:
        assert re.search(rf"^\.B {key}=$", page, re.MULTILINE), f"{key} is not in station.conf(5)"


def test_readme_tells_how_much_room_it_takes(package):
    told = int(re.search(r"Installed it takes (\d+) MB", (ROOT / "README.md").read_text())[1])
    size = int(run("dpkg-deb", "-f", package, "Installed-Size")) * 1024 / 1e6
    assert abs(size - told) <= 3, size
