import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("lists of checksums")
struct ChecksumListTests {
    private static let digest = String(repeating: "ab", count: 32)

    @Test("OpenWrt's own list is read, all of it")
    func genuine() throws {
        let list = try ChecksumList(Fixture.bytes("openwrt/sha256sums"))
        #expect(list.digests.count == 1303)
        #expect(list.digests.keys.contains { $0.hasPrefix("packages/") })
        let name = try #require(list.digests.keys.first { $0.hasSuffix("generic-ext4-combined.img.gz") })
        #expect(try list.digest(of: name) == list.digests[name])
        let error = libraryFailure { _ = try list.digest(of: name + "x") }
        #expect(error?.code == "sums_unlisted" && error?.message.contains(name) == true)
    }

    @Test("text mode, upper case and both kinds of names are read")
    func forms() throws {
        let text = "\(Self.digest) *a.img\n\(Self.digest.uppercased())  b/c d.img\n\n\(Self.digest) *a.img\n"
        #expect(try ChecksumList(Array(text.utf8)).digests.keys.sorted() == ["a.img", "b/c d.img"])
    }

    @Test(
        "whatever is wrong with a line is wrong with the list, and the line is named",
        arguments: [
            "\(digest)", "\(digest) *", "\(digest.dropLast()) *a", "\(digest)*a", "\(digest) +a",
            "x\(digest.dropFirst()) *a",
            "\(digest) */etc/a", "\(digest) *../a", "\(digest) *a/../b", "\(digest) *a//b", "\(digest) *a\u{1B}b",
            "\\\(digest) *a", String(repeating: "0", count: 64) + " *good",
        ])
    func invalid(line: String) {
        let text = "\(Self.digest) *good\n\(line)\n"
        let error = libraryFailure { _ = try ChecksumList(Array(text.utf8)) }
        #expect(error?.code == "sums_invalid" && error?.message.contains("line 2") == true, "\(line)")
    }

    @Test("an empty list is none")
    func empty() { #expect(libraryFailure { _ = try ChecksumList([]) }?.code == "sums_invalid") }
}

@Suite("signatures of usign and signify")
struct UsignTests {
    private static func verify(_ message: [UInt8], _ signature: [UInt8], _ keys: [UsignKey]) -> StationError? {
        libraryFailure {
            let signature = try UsignSignature(signature)
            _ = try message.withUnsafeBytes { try signature.verify($0, keys: keys) }
        }
    }

    @Test("OpenWrt's own signature is good, by its own key only, and of its own list only")
    func genuine() throws {
        var sums = try Fixture.bytes("openwrt/sha256sums")
        var signature = try Fixture.bytes("openwrt/sha256sums.sig")
        let key = try UsignKey(try Fixture.bytes("openwrt/b5043e70f9a75cde.pub"))
        #expect(key.fingerprint == "b5043e70f9a75cde")
        #expect(Self.verify(sums, signature, [key]) == nil)
        #expect(Self.verify(sums, signature, [])?.code == "key_unknown")
        sums[1000] ^= 1
        #expect(Self.verify(sums, signature, [key])?.code == "signature_wrong")
        sums[1000] ^= 1
        #expect(Self.verify(sums + [10], signature, [key])?.code == "signature_wrong")
        signature.removeLast(20)
        #expect(Self.verify(sums, signature, [key])?.code == "signature_invalid")
    }

    @Test("a signature of OpenBSD's tool is good, of an empty file too", arguments: ["", "some text"])
    func signify(text: String) throws {
        let made = try PackedSample.run(
            """
            signify-openbsd -G -n -c 'a key' -p k.pub -s k.sec; printf '%s' '\(text)' > m
            signify-openbsd -S -s k.sec -m m -x m.sig; cat k.pub m.sig > out
            """, [:])
        let lines = made.split(separator: 10).map { Array($0) + [10] }
        try #require(lines.count == 4)
        let key = try UsignKey(lines[0] + lines[1])
        #expect(Self.verify(Array(text.utf8), lines[2] + lines[3], [key]) == nil)
        #expect(Self.verify(Array("\(text)!".utf8), lines[2] + lines[3], [key])?.code == "signature_wrong")
        // Another key with the same fingerprint does not stand in its way, and does not do instead.
        var other = Array("untrusted comment: x\n".utf8) + lines[1]
        other[other.count - 10] = other[other.count - 10] == 0x41 ? 0x42 : 0x41
        let impostor = try UsignKey(other)
        #expect(impostor.fingerprint == key.fingerprint && impostor != key)
        #expect(Self.verify(Array(text.utf8), lines[2] + lines[3], [impostor, key]) == nil)
        #expect(Self.verify(Array(text.utf8), lines[2] + lines[3], [impostor])?.code == "signature_wrong")
    }
}

@Suite("OpenPGP signatures, by gpgv")
struct OpenPGPTests {
    /// A key ring, a message and a signature, made by GnuPG.
    private final class Bench: Sendable {
        let vault: VaultBench
        let files: [String: [UInt8]]

        init() throws {
            vault = try VaultBench()
            let made = try PackedSample.run(
                """
                mkdir -m 700 home; export GNUPGHOME=$PWD/home; printf 'a message' > m
                for name in one two; do
                  gpg -q --batch --passphrase '' --quick-gen-key $name@example.org ed25519 sign never 2> /dev/null
                  gpg -q --export $name@example.org > $name.gpg; gpg -q --export -a $name@example.org > $name.asc
                done
                gpg -q -u one@example.org --detach-sign -o m.sig m; gpg -q -u one@example.org -a --detach-sign -o m.asc m
                gpgconf --kill all; tar -cf out m m.sig m.asc one.gpg one.asc two.gpg
                """, [:])
            var files: [String: [UInt8]] = [:]
            for name in ["m", "m.sig", "m.asc", "one.gpg", "one.asc", "two.gpg"] {
                files[name] = try PackedSample.run("tar -xOf made \(name) > out", ["made": made])
            }
            self.files = files
        }

        func bytes(_ name: String) -> [UInt8] { files[name] ?? [] }

        func verify(
            _ signature: [UInt8], of message: [UInt8], keys: [UInt8], program: String = "/usr/bin/gpgv"
        ) -> Result<String, StationError> {
            let directory = vault.directory
            var verifier = OpenPGPVerifier { () throws(StationError) in
                try UnsealedFile(in: directory, isNamed: false)
            }
            verifier.program = program
            do {
                return .success(try verifier.verify(signature, of: vault.file(message), keyring: keys))
            } catch { return .failure(error as? StationError ?? StationError("untyped", "\(error)")) }
        }
    }

    private static func code(_ result: Result<String, StationError>) -> String? {
        if case .failure(let error) = result { error.code } else { nil }
    }

    @Test("good, unknown, wrong and senseless are four answers, with and without armour")
    func answers() throws {
        let bench = try Bench()
        let (message, keys) = (bench.bytes("m"), bench.bytes("one.gpg") + bench.bytes("two.gpg"))
        #expect(OpenPGPArmour.bytes(of: bench.bytes("one.asc")) == bench.bytes("one.gpg"))
        #expect(OpenPGPArmour.bytes(of: bench.bytes("m.asc")) != bench.bytes("m.asc"))
        let fromWindows = String(decoding: bench.bytes("one.asc"), as: UTF8.self).replacing("\n", with: "\r\n")
        #expect(OpenPGPArmour.bytes(of: Array(fromWindows.utf8)) == bench.bytes("one.gpg"))
        for signature in [bench.bytes("m.sig"), OpenPGPArmour.bytes(of: bench.bytes("m.asc")) ?? []] {
            guard case .success(let key) = bench.verify(signature, of: message, keys: keys) else {
                Issue.record("\(bench.verify(signature, of: message, keys: keys))")
                return
            }
            #expect(key.utf8.count == 40 && key.isLowerHexadecimal)
            #expect(Self.code(bench.verify(signature, of: message + [1], keys: keys)) == "signature_wrong")
            #expect(Self.code(bench.verify(signature, of: message, keys: bench.bytes("two.gpg"))) == "key_unknown")
            #expect(Self.code(bench.verify(signature, of: message, keys: [])) == "key_unknown")
        }
        for nonsense in [[], Array("nonsense".utf8), message, bench.bytes("one.gpg")] {
            #expect(Self.code(bench.verify(nonsense, of: message, keys: keys)) == "signature_invalid")
        }
        let gone = bench.verify(bench.bytes("m.sig"), of: message, keys: keys, program: "/nonexistent/gpgv")
        #expect(Self.code(gone) == "gpgv_missing")
    }

    @Test(
        "keys and signatures that are not good any more are not good",
        arguments: ["EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG"])
    func notAnyMore(word: String) {
        let report =
            "[GNUPG:] NEWSIG\n[GNUPG:] \(word) 0123456789ABCDEF name\n[GNUPG:] VALIDSIG \(String(repeating: "A", count: 40))\n"
        #expect(libraryFailure { _ = try OpenPGPVerifier.read(report, isSuccess: true) }?.code == "signature_wrong")
        let good = report.replacing(word, with: "GOODSIG")
        #expect(libraryFailure { _ = try OpenPGPVerifier.read(good, isSuccess: true) } == nil)
        #expect(
            libraryFailure { _ = try OpenPGPVerifier.read(good, isSuccess: false) } != nil, "gpgv's own word counts too"
        )
    }

    @Test("a line of gpgv's that says nothing is passed over")
    func wordless() {
        let report = "[GNUPG:] \n[GNUPG:]  \n"
        #expect(libraryFailure { _ = try OpenPGPVerifier.read(report, isSuccess: true) }?.code == "signature_invalid")
    }
}

@Suite("trusted keys")
struct TrustedKeysTests {
    /// A directory of key files, owned by whoever runs the tests.
    private static func keys(_ files: [String: [UInt8]], mode: UInt32 = 0o644, owner: UInt32 = getuid()) throws
        -> Result<TrustedKeys, StationError>
    {
        let bench = try VaultBench()
        for (name, bytes) in files {
            let file = try Descriptor(opening: "\(bench.directory)/\(name)", O_WRONLY | O_CREAT, mode: 0o600)
            try bytes.withUnsafeBytes { try file.write(all: $0) }
            #expect(fchmod(file.number, mode) == 0)
        }
        defer { withExtendedLifetime(bench) {} }
        do {
            return .success(try TrustedKeys(["/nonexistent", bench.directory], ownerID: owner))
        } catch { return .failure(error) }
    }

    @Test("files of the three kinds are read, others are not looked at")
    func kinds() throws {
        let pub = try Fixture.bytes("openwrt/b5043e70f9a75cde.pub")
        let keys = try Self.keys(["a.pub": pub, "b.gpg": [1, 2], "README": [3], "c.asc": [4]]).get()
        #expect(keys.usign.map(\.fingerprint) == ["b5043e70f9a75cde"] && keys.openPGP == [1, 2, 4])
    }

    @Test("a key that somebody else could have put there is not trusted, and a broken one is named")
    func refused() throws {
        let pub = try Fixture.bytes("openwrt/b5043e70f9a75cde.pub")
        let cases: [(Result<TrustedKeys, StationError>, String)] = [
            (try Self.keys(["a.pub": pub], mode: 0o664), "key_file_untrusted"),
            (try Self.keys(["a.pub": pub], mode: 0o646), "key_file_untrusted"),
            (try Self.keys(["a.pub": pub], owner: 4711), "key_file_untrusted"),
            (try Self.keys(["a.pub": Array(pub.dropLast(9))]), "key_file_invalid"),
            (try Self.keys(["a.asc": Array("-----BEGIN PGP X\n\n!!\n-----END PGP X\n".utf8)]), "key_file_invalid"),
        ]
        for (result, code) in cases {
            guard case .failure(let error) = result else {
                Issue.record("trusted: \(code)")
                continue
            }
            #expect(error.code == code)
        }
    }
}
