"""Image files as people have them, through the real station-library: packed, damaged, signed, mapped, too large.

Every sample is made by Debian's own tools. Every test ends with what is in the library: a file that is not whole, or not
what it is said to be, leaves nothing there.
"""

import contextlib
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import zipfile
import zlib

import pytest

from practice_card import LoopCard
from practice_station import CallFailed, Client, PracticeStation, wait_until
from writer_bench import MIB, bytes_at

SUCCESS, FAILURE, USAGE, UNREACHABLE, NOT_PERMITTED, NOT_FOUND, REFUSED, NOT_PASSED = range(8)
FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Fixtures", "openwrt")


def image_bytes(byte_count, seed=1):
    """An image with an MBR of one partition: text that packs, bytes that do not, and zeros."""
    table = bytearray(512)
    table[446:462] = bytes([0x80, 0, 2, 0, 0x0C, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0])
    table[510:512] = b"\x55\xaa"
    noise = random.Random(seed).randbytes(byte_count // 3)
    text = (b"line %d of an image\n" % seed) * (byte_count // 60)
    return (bytes(table) + noise + text + bytes(byte_count))[:byte_count]


IMAGE = image_bytes(MIB + 4711)
SHA256 = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture(scope="module")
def station(programs):
    with PracticeStation(programs) as station:
        os.makedirs(os.path.join(station.config, "keys"), mode=0o755)
        station.declare("slot1", "2")
        station.start()
        yield station


@pytest.fixture
def library(station):
    """The station, with an empty library before and after."""
    yield station
    for image in station.call("ListImages")["images"]:
        station.call("Unassign", slots=["slot1"])
        station.call("RemoveImage", name=image["name"])
    for name in os.listdir(os.path.join(station.config, "keys")):
        os.unlink(os.path.join(station.config, "keys", name))
    assert files_in(station) == []


def files_in(station):
    return os.listdir(os.path.join(station.state, "images"))


def names_in(station):
    return [image["name"] for image in station.call("ListImages")["images"]]


def import_file(station, path, *options):
    """`image import --json`: the record, or the error's code."""
    result = station.stationctl("image", "import", str(path), "--json", *options, check=False)
    if result.returncode == SUCCESS:
        return json.loads(result.stdout)
    return json.loads(result.stdout or result.stderr)["error"]


def shell(directory, command):
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=directory, check=True, stderr=subprocess.DEVNULL)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


# -- the table ----------------------------------------------------------------------------------------

# How `i` is packed, and two halves of it, `a` and `b`, one behind the other (nothing where the format has no such thing).
CONTAINERS = {
    "raw": ("cat i", None, "raw"),
    "gzip": ("gzip -c i", "gzip -c a; gzip -c b", "gzip"),
    "xz": ("xz -c i", "xz -c a; xz -c b", "xz"),
    "zstd": ("zstd -q -c i", "zstd -q -c a; zstd -q -c b", "zstd"),
    "bzip2": ("bzip2 -c i", "bzip2 -c a; bzip2 -c b", "bzip2"),
    "lz4": ("lz4 -q -c i", "lz4 -q -c a; lz4 -q -c b", "lz4"),
    "zip": ("zip -q - i", None, "zip"),
    "gzip in zip": ("gzip -c i > i.gz; zip -q - i.gz", "{ gzip -c a; gzip -c b; } > i.gz; zip -q - i.gz", "zip › gzip"),
    "gzip in zip in xz": ("gzip -c i > i.gz; zip -q - i.gz | xz -c", None, "xz › zip › gzip"),
    "tar.gz": ("tar -cf - i | gzip -c", None, "gzip › tar"),
    "tar": ("tar -cf - i", None, "tar"),
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The directory with `i` and its halves."""
    directory = tmp_path_factory.mktemp("packed")
    for name, data in (("i", IMAGE), ("a", IMAGE[:700_000]), ("b", IMAGE[700_000:])):
        write(directory / name, data)
    return directory


def pack(directory, command):
    shell(directory, f"rm -f out i.gz; {{ {command}; }} > out")
    with open(directory / "out", "rb") as file:
        return file.read()


def fwtool_trailer():
    with open(os.path.join(FIXTURES, "disk-with-fwtool-trailer.img.gz"), "rb") as file:
        data = file.read()
    unpacker = zlib.decompressobj(31)
    unpacker.decompress(data)
    assert unpacker.unused_data.count(b"FWx0") == 2
    return unpacker.unused_data


DAMAGE = {
    "good": (lambda data: data, None),
    "truncated in the middle": (lambda data: data[:len(data) // 2], "image_truncated"),
    "truncated by a byte": (lambda data: data[:-1], "image_truncated"),
    "a flipped byte": (lambda data: flip(data, len(data) // 3), "image_corrupt"),
    "a trailing byte": (lambda data: data + b"\0", "image_trailing_bytes"),
    "trailing garbage": (lambda data: data + b"garbage" * 100, "image_trailing_bytes"),
    "fwtool's trailer": (lambda data: data + fwtool_trailer(), "image_trailing_bytes"),
    "half of fwtool's trailer": (lambda data: data + fwtool_trailer()[:-9], "image_trailing_bytes"),
}


def flip(data, index):
    return data[:index] + bytes([data[index] ^ 0x40]) + data[index + 1:]


def expected_code(container, damage, code):
    """What differs from format to format."""
    if container == "raw":
        return None  # Nothing in a raw file says how long it is, or what is in it.
    if damage == "fwtool's trailer" and container in ("gzip", "tar.gz"):
        return None
    if container == "tar" and damage == "a flipped byte":
        return None  # A bare tar has no checksum of what is in it.
    if container == "tar" and code == "image_trailing_bytes":
        return "image_truncated"  # It does not end as a tar does: cut off, or added to.
    return code


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_is_imported_whole_or_not_at_all(library, packed, tmp_path, container, damage):
    command, _, chain = CONTAINERS[container]
    change, code = DAMAGE[damage]
    data = change(pack(packed, command))
    # Its name is wrong on purpose.
    path = write(tmp_path / "card.img.7z", data)
    answer = import_file(library, path, "--name", "card")
    code = expected_code(container, damage, code)
    if code:
        assert answer["code"] == code and answer["remedy"], answer
        assert files_in(library) == [] and names_in(library) == []
        return
    assert answer["origin"]["container"] == chain and answer["origin"]["fileName"] == "card.img.7z"
    checked = container not in ("raw", "tar")
    assert answer["origin"]["isChecked"] == checked
    if checked:
        assert answer["sha256"] == SHA256 and answer["byteCount"] == len(IMAGE)
    with open(os.path.join(library.state, "images", answer["sha256"] + ".img"), "rb") as file:
        sealed = file.read()
    assert hashlib.sha256(sealed).hexdigest() == answer["sha256"]
    assert sealed == IMAGE or not checked


@pytest.mark.parametrize("container", [name for name, (_, two, _) in CONTAINERS.items() if two])
def test_two_members_are_one_image(library, packed, tmp_path, container):
    data = pack(packed, CONTAINERS[container][1])
    assert import_file(library, write(tmp_path / "two", data))["sha256"] == SHA256
    if container in ("gzip", "bzip2"):
        damaged = flip(data, len(data) - 4)
        assert import_file(library, write(tmp_path / "bad", damaged))["code"] == "image_corrupt"


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_pipe_gives_the_same(library, packed, container):
    data = pack(packed, CONTAINERS[container][0])
    result = subprocess.run(
        [os.path.join(library.programs, "stationctl"), "--socket", library.socket, "image", "import", "-", "--name", "piped",
         "--json"], input=data, capture_output=True, check=True)
    record = json.loads(result.stdout)
    assert record["sha256"] == SHA256 and "fileName" not in record["origin"]


# -- odd files ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("byte_count", [512, 513, 4095, 4097, MIB - 1, MIB + 1])
def test_odd_byte_counts_stay_as_they_are(library, tmp_path, byte_count):
    data = image_bytes(byte_count)
    record = import_file(library, write(tmp_path / "odd.img.gz", gzip.compress(data)))
    assert record["byteCount"] == byte_count and record["name"] == "odd"
    assert record["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_packed_image_goes_onto_a_card(library, packed):
    library_file = packed / "card.img.xz"
    shell(packed, "xz -c i > card.img.xz")
    assert import_file(library, library_file)["name"] == "card"
    library.call("Assign", slots=["slot1"], image="card")
    with LoopCard(8 * MIB) as card:
        reader = library.bench.insert("2", card, "slot1")
        assert library.wait_for_state("slot1", "passed", "failed", "refused")["state"] == "passed"
        assert bytes_at(card, 0, len(IMAGE)) == IMAGE
        reader.unplug()


@pytest.mark.parametrize("command, code", [
    ("head -c 70000 /dev/urandom", "image_no_table"), ("head -c 0 /dev/null | gzip -c", "image_empty"),
    ("head -c 0 /dev/null", "image_empty"), ("cat /bin/true | gzip -c", "image_no_table"),
    ("{ printf '7z\\274\\257\\047\\034'; cat i; }", "image_compressed"), ("zip -q -P secret - i", "image_encrypted"),
    ("gzip -c i | gzip -c | gzip -c | gzip -c | gzip -c", "image_bomb"), ("echo read me > README; zip -q - README", "member_missing"),
])
def test_what_is_no_image_says_what_it_is(library, packed, tmp_path, command, code):
    answer = import_file(library, write(tmp_path / "file", pack(packed, command)))
    assert answer["code"] == code and answer["remedy"]
    assert files_in(library) == []


def test_an_archive_of_several_images_asks_which(library, packed, tmp_path):
    other = image_bytes(MIB, seed=9)
    with zipfile.ZipFile(tmp_path / "boards.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "read me")
        archive.writestr("router/card.img", IMAGE)
        archive.writestr("switch/card.img.gz", gzip.compress(other))
    answer = import_file(library, tmp_path / "boards.zip")
    assert answer["code"] == "member_ambiguous"
    assert "router/card.img, switch/card.img.gz" in answer["message"] and "README" not in answer["message"]
    assert "--member router/card.img" in answer["remedy"]
    assert import_file(library, tmp_path / "boards.zip", "--member", "card.img")["sha256"] == SHA256
    answer = import_file(library, tmp_path / "boards.zip", "--member", "switch/card.img.gz", "--name", "switch")
    assert answer["sha256"] == hashlib.sha256(other).hexdigest()
    assert import_file(library, tmp_path / "boards.zip", "--member", "x")["code"] == "member_unknown"


def test_an_archive_of_very_many_files_is_refused(library, tmp_path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for index in range(10_001):
            archive.writestr(f"f{index}", b"")
        archive.writestr("card.img", IMAGE)
    assert import_file(library, tmp_path / "many.zip")["code"] == "image_bomb"


def test_a_bomb_fills_neither_disk_nor_time(library, packed, tmp_path):
    shell(packed, "{ head -c 512 i; head -c 1200M /dev/zero; } | gzip -9 | gzip -9 | xz > bomb")
    answer = import_file(library, packed / "bomb")
    assert answer["code"] == "image_bomb" and "100000" in answer["message"]
    assert files_in(library) == []
    # What is as large and honest about it takes hardly any room.
    shell(packed, "{ cat i; head -c 1100M /dev/zero; } | gzip -1 > large.img.gz")
    record = import_file(library, packed / "large.img.gz")
    status = os.stat(os.path.join(library.state, "images", record["sha256"] + ".img"))
    assert status.st_size == len(IMAGE) + 1100 * MIB and status.st_blocks * 512 < 4 * MIB


# -- who vouches for it -------------------------------------------------------------------------------

def test_a_sha256_is_of_the_file_or_of_the_image_and_it_is_said_which(library, packed):
    shell(packed, "gzip -c i > card.img.gz")
    with open(packed / "card.img.gz", "rb") as file:
        of_file = hashlib.sha256(file.read()).hexdigest()
    for digest, subject in ((of_file, "file"), (SHA256, "image")):
        record = import_file(library, packed / "card.img.gz", "--sha256", digest.upper(), "--name", subject)
        assert record["origin"]["vouching"] == {"kind": "sha256", "subject": subject}
    shown = library.stationctl("image", "show", "file").stdout
    assert "card.img.gz, gzip" in shown and "SHA-256 of the file" in shown
    answer = import_file(library, packed / "card.img.gz", "--sha256", "0" * 64, "--name", "wrong")
    assert answer["code"] == "hash_mismatch" and of_file in answer["message"] and SHA256 in answer["message"]
    assert sorted(names_in(library)) == ["file", "image"]


@pytest.fixture
def release(tmp_path):
    """A download directory: an image, the list of checksums, and keys that sign it."""
    write(tmp_path / "card.img.gz", gzip.compress(IMAGE))
    shell(tmp_path, """
        sha256sum -b card.img.gz > sha256sums
        echo "$(printf %064d 0) *packages/a.ipk" >> sha256sums
        for name in ours theirs; do signify-openbsd -G -n -c "$name" -p $name.pub -s $name.sec; done
        signify-openbsd -S -s ours.sec -m sha256sums -x sums.sig
        signify-openbsd -S -s theirs.sec -m sha256sums -x theirs.sig
        signify-openbsd -S -s ours.sec -m card.img.gz -x image.sig
    """)
    return tmp_path


def trust(station, path):
    shutil.copy(path, os.path.join(station.config, "keys"))


def test_a_signed_list_vouches_for_a_file(library, release):
    trust(library, release / "ours.pub")
    image, sums = release / "card.img.gz", ("--sums", str(release / "sha256sums"))
    record = import_file(library, image, *sums)
    assert record["origin"]["vouching"] == {"kind": "sha256", "subject": "file"}, "a list without a signature is no more"
    record = import_file(library, image, *sums, "--signature", str(release / "sums.sig"))
    assert record["origin"]["vouching"]["kind"] == "signature", "the same bytes are better vouched for now"
    key = record["origin"]["vouching"]["key"]
    assert re.fullmatch("[0-9a-f]{16}", key) and key in library.stationctl("image", "show", "card").stdout
    assert import_file(library, image)["origin"]["vouching"]["kind"] == "signature", "and stay so"


def spoil_sums(release):
    with open(release / "sha256sums", "a") as file:
        file.write("# nothing\n")


def spoil_image(release):
    write(release / "card.img.gz", gzip.compress(image_bytes(MIB)))


@pytest.mark.parametrize("spoil, signature, code", [
    (lambda release: None, "theirs.sig", "key_unknown"), (spoil_sums, "sums.sig", "signature_wrong"),
    (spoil_image, "sums.sig", "hash_mismatch"), (lambda release: None, "image.sig", "signature_wrong"),
    (lambda release: os.rename(release / "card.img.gz", release / "other.img.gz"), "sums.sig", "sums_unlisted"),
    (lambda release: None, "ours.pub", "signature_invalid"), (lambda release: None, "card.img.gz", None),
], ids=["unknown key", "another list", "another image", "another file's signature", "another name", "a key", "too long"])
def test_key_signature_and_checksum_are_three_errors_and_nothing_is_in_the_library(library, release, spoil, signature, code):
    trust(library, release / "ours.pub")
    spoil(release)
    image = next(release.glob("*.img.gz"))
    answer = import_file(
        library, image, "--sums", str(release / "sha256sums"), "--signature", str(release / signature))
    assert answer["code"] == (code or "companion_unreadable") and answer["message"]
    assert files_in(library) == [] and names_in(library) == []


@pytest.mark.parametrize("line", [
    "0" * 64 + " */etc/passwd", "0" * 64 + " *../card.img.gz", "0" * 64 + "card.img.gz", "nonsense",
])
def test_a_list_that_leads_elsewhere_is_refused_whole(library, release, line):
    with open(release / "sha256sums", "a") as file:
        file.write(line + "\n")
    answer = import_file(library, release / "card.img.gz", "--sums", str(release / "sha256sums"))
    assert answer["code"] == "sums_invalid" and "line 3" in answer["message"]
    assert files_in(library) == []


@pytest.mark.parametrize("is_pipe", [False, True])
def test_a_signature_may_be_of_the_image_file_itself(library, release, is_pipe):
    trust(library, release / "ours.pub")
    options = ("--signature", str(release / "image.sig"), "--name", "card", "--json")
    with open(release / "card.img.gz", "rb") as file:
        data = file.read()
    for content, good in ((data, True), (gzip.compress(image_bytes(MIB)), False)):
        path = write(release / "handed.gz", content)
        command = [os.path.join(library.programs, "stationctl"), "--socket", library.socket, "image", "import"]
        result = subprocess.run(
            command + ["-" if is_pipe else str(path), *options], input=content if is_pipe else None,
            stdin=None if is_pipe else subprocess.DEVNULL, capture_output=True, check=False)
        answer = json.loads(result.stdout or result.stderr)
        if good:
            assert answer["sha256"] == SHA256 and answer["origin"]["vouching"]["kind"] == "signature"
            library.call("RemoveImage", name="card")
        else:
            assert answer["error"]["code"] == "signature_wrong"
        assert files_in(library) == []


def test_gnupg_signs_as_well_and_no_key_of_a_user_counts(library, release, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environment = f"export GNUPGHOME={home};"
    shell(release, environment + """
        gpg -q --batch --passphrase '' --quick-gen-key builder@example.org ed25519 sign never
        gpg -q -a --detach-sign -o sums.asc sha256sums; gpg -q --export -a > builder.asc; gpgconf --kill all
    """)
    options = ("--sums", str(release / "sha256sums"), "--signature", str(release / "sums.asc"))
    # The key is in the caller's own key ring, and in root's.
    os.environ["GNUPGHOME"] = str(home)
    try:
        assert import_file(library, release / "card.img.gz", *options)["code"] == "key_unknown"
    finally:
        del os.environ["GNUPGHOME"]
    trust(library, release / "builder.asc")
    vouching = import_file(library, release / "card.img.gz", *options)["origin"]["vouching"]
    assert vouching["kind"] == "signature" and len(vouching["key"]) == 40
    spoil_sums(release)
    assert import_file(library, release / "card.img.gz", *options, "--name", "x")["code"] == "signature_wrong"


def test_a_key_that_anybody_could_have_put_there_is_not_trusted(library, release):
    trust(library, release / "ours.pub")
    os.chmod(os.path.join(library.config, "keys", "ours.pub"), 0o666)
    answer = import_file(library, release / "card.img.gz", "--signature", str(release / "image.sig"))
    assert answer["code"] == "key_file_untrusted" and "ours.pub" in answer["message"]


def test_openwrts_own_list_and_signature_are_good_and_miss_our_file(library, release):
    trust(library, os.path.join(FIXTURES, "b5043e70f9a75cde.pub"))
    options = ("--sums", os.path.join(FIXTURES, "sha256sums"), "--signature", os.path.join(FIXTURES, "sha256sums.sig"))
    assert import_file(library, release / "card.img.gz", *options)["code"] == "sums_unlisted"
    name = "openwrt-25.12.5-x86-64-generic-ext4-combined.img.gz"
    write(release / name, gzip.compress(IMAGE))
    answer = import_file(library, release / name, *options)
    assert answer["code"] == "hash_mismatch", answer
    assert files_in(library) == []


# -- bmap files ---------------------------------------------------------------------------------------

@pytest.fixture
def mapped(tmp_path):
    """An image with a hole, and its bmap beside it."""
    data = IMAGE[:8192] + bytes(MIB) + IMAGE[8192:]
    write(tmp_path / "card.img", data)
    shell(tmp_path, "cp --sparse=always card.img s && bmaptool -q create -o card.img.bmap s && gzip -k card.img && rm s")
    return tmp_path, data


@pytest.mark.parametrize("name", ["card.img", "card.img.gz"])
def test_a_bmap_beside_an_image_is_honoured(library, mapped, name):
    directory, data = mapped
    record = import_file(library, directory / name)
    assert record["origin"]["vouching"] == {"kind": "bmap", "subject": "image"}
    library.call("RemoveImage", name="card")
    other = flip(data, 5000)
    write(directory / name, gzip.compress(other) if name.endswith("gz") else other)
    answer = import_file(library, directory / name)
    assert answer["code"] == "bmap_mismatch" and "bytes 0 to" in answer["message"] and "--no-bmap" in answer["remedy"]
    assert files_in(library) == []
    assert import_file(library, directory / name, "--no-bmap")["origin"]["vouching"] == {"kind": "none"}


def test_an_old_bmap_of_version_1_3_is_honoured(library, mapped):
    directory, data = mapped
    with open(directory / "card.img.bmap", encoding="utf-8") as file:
        text = file.read()
    # As bmaptool wrote it then; today's bmaptool says whether it is right.
    text = text.replace('version="2.0"', 'version="1.3"')
    text = re.sub(r"\s*<ChecksumType>.*?</ChecksumType>", "", text)
    ranges = re.findall(r'<Range chksum="(\w+)">\s*(\d+)(?:-(\d+))?\s*</Range>', text)
    for checksum, first, last in ranges:
        start, end = int(first) * 4096, (int(last or first) + 1) * 4096
        text = text.replace(f'chksum="{checksum}"', f'sha1="{hashlib.sha1(data[start:end]).hexdigest()}"')
    text = re.sub(r"<BmapFileChecksum>.*?</BmapFileChecksum>", f"<BmapFileSHA1>{'0' * 40}</BmapFileSHA1>", text, flags=re.S)
    own = hashlib.sha1(text.encode()).hexdigest()
    write(directory / "card.img.bmap", text.replace("0" * 40, own).encode())
    shell(directory, "bmaptool -q copy --bmap card.img.bmap card.img copied")
    assert import_file(library, directory / "card.img")["origin"]["vouching"]["kind"] == "bmap"
    write(directory / "card.img", flip(data, 5000))
    assert import_file(library, directory / "card.img", "--name", "x")["code"] == "bmap_mismatch"
    write(directory / "card.img.bmap", text.replace("0" * 40, "1" * 40).encode())
    assert import_file(library, directory / "card.img", "--name", "x")["code"] == "bmap_damaged"


def test_a_bmap_that_grows_when_it_is_read_is_refused(library, mapped):
    directory, _ = mapped
    entities = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    write(directory / "card.img.bmap",
          f'<!DOCTYPE bmap [<!ENTITY l0 "ha">{entities}]><bmap version="2.0">&l9;</bmap>'.encode())
    answer = import_file(library, directory / "card.img")
    assert answer["code"] == "bmap_invalid" and "document type" in answer["message"]


# -- room, death, and what rots -----------------------------------------------------------------------

def test_a_full_disk_leaves_nothing_and_says_the_numbers(programs, tmp_path):
    images = image_bytes(6 * MIB)
    with PracticeStation(programs) as station:
        vault = os.path.join(station.state, "images")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0750", "none", vault], check=True)
        try:
            station.start()
            # Known beforehand, found out on the way, and found out while a zip is copied aside.
            write(tmp_path / "a.img", images)
            shell(tmp_path, "gzip -k a.img; zstd -q -k a.img; zip -q -0 stored.zip a.img")
            for name in ("a.img", "a.img.gz", "a.img.zst", "stored.zip"):
                answer = import_file(station, tmp_path / name, "--name", "full")
                assert answer["code"] == "storage_full" and re.search(r"\d{7} bytes", answer["message"]), answer
                assert os.listdir(vault) == []
                assert shutil.disk_usage(vault).used == 0
            write(tmp_path / "small.img", IMAGE)
            assert import_file(station, tmp_path / "small.img")["sha256"] == SHA256
        finally:
            station.stop()
            subprocess.run(["umount", vault], check=True)


def test_the_storage_limit_is_of_all_images(programs, tmp_path):
    with PracticeStation(programs) as station:
        write(os.path.join(station.config, "station.conf"), b"[Station]\nStorageLimit=2M\n")
        station.start()
        for seed in (1, 2):
            write(tmp_path / f"{seed}.img.gz", gzip.compress(image_bytes(5 * MIB, seed)))
        assert import_file(station, tmp_path / "1.img.gz")["code"] == "image_too_large"
        noise = [random.Random(seed).randbytes(MIB + MIB // 4) for seed in (1, 2)]
        for seed, bytes_ in enumerate(noise):
            write(tmp_path / f"n{seed}.img.gz", gzip.compress(image_bytes(512) + bytes_))
        assert "sha256" in import_file(station, tmp_path / "n0.img.gz")
        answer = import_file(station, tmp_path / "n1.img.gz")
        assert answer["code"] == "storage_full" and "2097152" in answer["message"]
        assert len(os.listdir(os.path.join(station.state, "images"))) == 1


def library_processes(station):
    found = []
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except (OSError, ValueError):
            continue
        if words[0].endswith(b"station-library") and station.state.encode() in b" ".join(words):
            found.append(int(process))
    return found


def holds(process, pipe):
    """Whether a process has this pipe open: the one that imports, and not one that only counts what there is."""
    with contextlib.suppress(OSError):
        return any(os.readlink(f"/proc/{process}/fd/{number}") == pipe for number in os.listdir(f"/proc/{process}/fd"))
    return False


@pytest.mark.parametrize("kind", ["raw", "gzip", "zip"])
def test_a_library_that_is_killed_leaves_nothing(library, packed, kind):
    data = pack(packed, CONTAINERS[kind][0])
    for share in (0.02, 0.5, 0.99):
        reading, writing = os.pipe()
        pipe = f"pipe:[{os.fstat(reading).st_ino}]"
        with Client(library.socket) as client:
            client.send("ImportImage", {"name": "killed"}, more=True, descriptors=[reading])
            os.close(reading)
            os.write(writing, data[:512])
            process, = wait_until(lambda: [one for one in library_processes(library) if holds(one, pipe)], 10, "the library")
            sent = 512
            while sent < len(data) * share:
                sent += os.write(writing, data[sent:sent + 4096])
            os.kill(process, signal.SIGKILL)
            with pytest.raises(CallFailed) as failure:
                while True:
                    client.reply()
            assert failure.value.parameters["code"] == "library_lost"
        os.close(writing)
        assert files_in(library) == [] and names_in(library) == []


@pytest.fixture
def mortal(programs):
    """A station of its own, which nothing happened to."""
    with PracticeStation(programs) as station:
        station.start()
        yield station


def seal_and_die(library, data):
    """Imports bytes; the station is killed when they are sealed and it has not recorded that. Returns the file's name."""
    there = set(files_in(library))
    reading, writing = os.pipe()
    with Client(library.socket) as client:
        client.send("ImportImage", {"name": "unrecorded"}, more=True, descriptors=[reading])
        os.close(reading)
        os.write(writing, data[:512])
        pipe = f"pipe:[{os.fstat(writing).st_ino}]"
        wait_until(lambda: [one for one in library_processes(library) if holds(one, pipe)], 10, "the library")
        os.kill(library.process.pid, signal.SIGSTOP)
        try:
            sent = 512
            while sent < len(data):
                sent += os.write(writing, data[sent:])
            os.close(writing)
            return wait_until(lambda: [name for name in files_in(library) if name.endswith(".img") and name not in there], 10,
                              "the bytes to be sealed")[0]
        finally:
            library.stop(signal.SIGKILL)


def left_over(library):
    """What the store says of it: how often each sealing without a record was looked for, and what waits to be removed."""
    with contextlib.closing(sqlite3.connect(os.path.join(library.state, "store", "station.db"))) as store:
        return ([count for count, in store.execute("SELECT look_count FROM sealings")],
                [name for name, in store.execute("SELECT sha256 FROM unused_images")])


def test_what_is_sealed_when_the_station_dies_is_removed_at_its_next_start_and_nothing_else(mortal, tmp_path):
    kept = import_file(mortal, write(tmp_path / "kept.img", IMAGE))["sha256"] + ".img"
    foreign = "0" * 64 + ".img"
    write(os.path.join(mortal.state, "images", foreign), IMAGE)
    sealed = seal_and_die(mortal, flip(IMAGE, 300_000))
    assert set(files_in(mortal)) == {kept, foreign, sealed}
    mortal.start()
    wait_until(lambda: left_over(mortal) == ([1], []), 10, "what nobody recorded to be looked for and removed")
    # A file that the station knows nothing of may be of a store that was lost.
    assert set(files_in(mortal)) == {kept, foreign} and names_in(mortal) == ["kept"]


def test_what_is_sealed_and_recorded_when_the_station_dies_stays(mortal):
    data = flip(IMAGE, 300_000)
    sealed = seal_and_die(mortal, data)
    assert None in left_over(mortal)[0]
    # As if the record had got there, and no more.
    with contextlib.closing(sqlite3.connect(os.path.join(mortal.state, "store", "station.db"))) as store, store:
        store.execute("INSERT INTO sealed_images VALUES (?, ?)", (sealed[:64], len(data)))
        store.execute("INSERT INTO image_names (name, sha256, imported_at, imported_by) VALUES ('recorded', ?, 1, 0)", (sealed[:64],))
    mortal.start()
    wait_until(lambda: left_over(mortal) == ([1], []), 10, "it to be looked for")
    assert names_in(mortal) == ["recorded"]
    assert "intact" in mortal.stationctl("image", "verify", "recorded").stdout
    assert files_in(mortal) == [sealed]


def test_what_is_removed_during_an_import_is_gone_though_who_imports_hangs_up(library, tmp_path):
    """The bytes wait for the import's end; the task that then removes them is that of a client who has gone."""
    old = import_file(library, write(tmp_path / "old.img", IMAGE))
    unheard = left_over(library)[0].count(1)
    for _ in range(10):
        reading, writing = os.pipe()
        pipe = f"pipe:[{os.fstat(reading).st_ino}]"
        with Client(library.socket) as client:
            client.send("ImportImage", {"name": "unfinished"}, more=True, descriptors=[reading])
            os.close(reading)
            wait_until(lambda: [one for one in library_processes(library) if holds(one, pipe)], 10, "the library")
            library.call("RemoveImage", name=old["name"])
            assert files_in(library) != []
        wait_until(lambda: files_in(library) == [], 10, "the bytes to go")
        os.close(writing)
        old = import_file(library, tmp_path / "old.img")
    # Nobody has heard how the imports ended: the next start looks for what they may have sealed.
    wait_until(lambda: left_over(library) == ([1] * (unheard + 10), []), 10, "a note of each")


def test_a_bit_that_rots_in_the_library_is_found_by_verify_and_by_no_card_passed(library, tmp_path):
    # Of bytes that are no hole.
    path = write(tmp_path / "card.img", IMAGE)
    record = import_file(library, path)
    sealed = os.path.join(library.state, "images", record["sha256"] + ".img")
    assert stat.S_IMODE(os.stat(sealed).st_mode) == 0o440
    assert "intact" in library.stationctl("image", "verify").stdout
    write_over(sealed, 300_000, flip(IMAGE, 300_000)[300_000:300_001])
    result = library.stationctl("image", "verify", "card", check=False)
    assert result.returncode == FAILURE and "damaged" in result.stdout
    found, = json.loads(library.stationctl("image", "verify", "--json", check=False).stdout)["images"]
    assert not found["isIntact"] and found["problem"]["code"] == "image_damaged"
    library.call("Assign", slots=["slot1"], image="card")
    with LoopCard(8 * MIB) as card:
        reader = library.bench.insert("2", card, "slot1")
        seen = library.wait_for_state("slot1", "failed", "passed", "refused")
        assert (seen["state"], seen["reason"]) == ("failed", "hash_mismatch")
        reader.unplug()
    # The same file again mends it.
    assert import_file(library, path)["sha256"] == SHA256
    assert "intact" in library.stationctl("image", "verify", "card").stdout
    assert library.stationctl("image", "verify", "crad", check=False).returncode == NOT_FOUND


def write_over(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_progress_has_bytes_rate_and_time_left(library, tmp_path):
    data = image_bytes(512) + random.Random(3).randbytes(48 * MIB)
    packed_data = gzip.compress(data, 1)
    path = write(tmp_path / "large.img.gz", packed_data)
    with Client(library.socket) as client, open(path, "rb") as file:
        client.send("ImportImage", {"name": "large"}, more=True, descriptors=[file.fileno()])
        replies = []
        while not replies or "image" not in replies[-1]:
            replies.append(client.reply()["parameters"])
    steps = [reply["step"] for reply in replies]
    assert steps[0] == "reading" and "sealing" in steps
    assert all(reply["bytesTotal"] == len(packed_data) for reply in replies)
    done = [reply["bytesDone"] for reply in replies]
    assert done == sorted(done) and done[-1] == len(packed_data)
