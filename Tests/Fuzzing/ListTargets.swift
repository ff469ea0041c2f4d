import FoundationEssentials
import StationCore

@testable import ImageLibrary

extension FuzzTarget {
    /// What comes with images and Image Builders: lists, checksums, keys, signatures.
    static let listTargets = [
        FuzzTarget(
            "make-info", lengthLimit: 4096,
            words: [
                "Current Target: \"", "Current Architecture: \"", "Current Revision: \"", "Default Packages: ",
                "Available Profiles:\n", "    Packages: ", "    hasImageMetadata: 1\n", "    SupportedDevices: ", ":\n",
            ]
        ) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            guard let info = try accepted({ try BuilderInfo(parsing: text) }) else { return }
            try demandSameAsJSON(info)
            try demand(!info.profiles.isEmpty && !info.revision.isEmpty, "an Image Builder can build nothing")
            try demandInside(info.target)
            var texts = [info.target, info.revision, info.architecture ?? ""] + info.defaultPackages
            for profile in info.profiles {
                try demandInside(profile.name)
                texts += [profile.name, profile.title] + profile.packages + profile.supportedDevices
            }
            for text in texts {
                try demand(text.unicodeScalars.allSatisfy(isShowable), "what make says has a control character in it")
            }
        },
        FuzzTarget(
            "profiles-json", lengthLimit: 4096,
            words: [
                "\"target\":", "\"version_code\":", "\"profiles\":", "\"images\":", "\"name\":", "\"type\":",
                "\"sha256\":",
                "\"filesystem\":", "combined-efi", "sysupgrade", "sdcard", "factory", ".img.gz", "squashfs", "ext4",
            ]
        ) { bytes in
            guard let document = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)),
                let overview = try accepted({ try ImagesOverview(document) })
            else { return }
            for (device, images) in overview.images {
                for image in images {
                    try demandInside(image.name)
                    try demand(!image.name.contains("/") && image.name != ".", "an image's name is no file's")
                }
                for filesystem in [nil] + Profile.Filesystem.allCases {
                    let chosen = try accepted {
                        try CardImageChoice.choose(from: images, device: device, filesystem: filesystem)
                    }
                    guard let chosen else { continue }
                    try demand(images.contains(chosen), "an image is chosen that is not there")
                    try demand(
                        filesystem == nil || chosen.filesystem == nil || chosen.filesystem == filesystem?.rawValue,
                        "an image is chosen that has another file system")
                }
            }
        },
        FuzzTarget(
            "sha256sums", lengthLimit: 2048,
            words: [String(repeating: "0", count: 64), " *", "  ", "../", "\n", "openwrt-24.10.2-x86-64.img.gz"]
        ) { bytes in
            guard let list = try accepted({ try ChecksumList(bytes) }) else { return }
            try demand(!list.digests.isEmpty, "an empty list is taken")
            for (name, digest) in list.digests {
                try demandInside(name)
                try demand((try? list.digest(of: name)) == digest, "a name has another checksum")
                // In the list itself, letter for letter.
                let line = [" *", "  "].contains { mark in
                    bytes.firstRange(of: Array("\(mark)\(name)".utf8)) != nil
                }
                let isText = String(validating: bytes, as: UTF8.self) != nil
                try demand(line || !isText, "a name is not there")
            }
            _ = try accepted { try list.digest(of: "openwrt-24.10.2-x86-64.img.gz") }
        },
        FuzzTarget("usign-key", lengthLimit: 256, words: ["untrusted comment: ", "RWQ", "\n", "="]) { bytes in
            guard let key = try accepted({ try UsignKey(bytes) }) else { return }
            try demand(key.fingerprint.utf8.count == 16 && key.fingerprint.isLowerHexadecimal, "a fingerprint is none")
            try demand(key == UsignSample.key || !UsignSample.isSigned(with: key), "another key has signed")
        },
        FuzzTarget("usign-signature", lengthLimit: 256, words: ["untrusted comment: ", "RWQ", "\n", "="]) { bytes in
            guard let signature = try accepted({ try UsignSignature(bytes) }) else { return }
            let signer = try accepted { try UsignSample.verify(signature, of: UsignSample.message) }
            try demand(signer == nil || signature == UsignSample.signature, "another signature is right, too")
            let other = try accepted { try UsignSample.verify(signature, of: UsignSample.message + [0x0A]) }
            try demand(other == nil, "a signature is right for what nobody signed")
        },
        FuzzTarget(
            "build-log", lengthLimit: 2048,
            words: [
                "opkg_install_cmd: Cannot install package ", "ERROR: unable to select packages:", " (no such package)",
                "is too big", "Image too big", "command not found", "make: *** ", "Profile \"", "Failed to download ",
            ]
        ) { bytes in
            let log = String(decoding: bytes, as: UTF8.self)
            for isOnline in [true, false] {
                let error = BuildFailure.explain(log: log, isOnline: isOnline, packages: ["luci-ssl", "base-files"])
                try demandReadable(error.code, error.message, error.remedy)
            }
        },
        FuzzTarget(
            "gpgv-report", lengthLimit: 1024,
            words: [
                "[GNUPG:] ", "GOODSIG ", "VALIDSIG ", "BADSIG ", "EXPSIG ", "EXPKEYSIG ", "REVKEYSIG ", "ERRSIG ",
                "NO_PUBKEY ", "NODATA ", "\n",
            ]
        ) { bytes in
            let report = String(decoding: bytes, as: UTF8.self)
            try demand(
                try accepted { try OpenPGPVerifier.read(report, isSuccess: false) } == nil,
                "a signature is good that gpgv did not find good")
            guard let key = try accepted({ try OpenPGPVerifier.read(report, isSuccess: true) }) else { return }
            let words = bytes.split(separator: 0x0A).compactMap { line in
                line.starts(with: "[GNUPG:] ".utf8) ? line.dropFirst(9).split(separator: 0x20).first : nil
            }
            try demand(
                words.contains { $0.elementsEqual("GOODSIG".utf8) }
                    && words.contains { $0.elementsEqual("VALIDSIG".utf8) }
                    && !words.contains { $0.elementsEqual("BADSIG".utf8) },
                "a signature is good that gpgv did not find good")
            try demand(!key.isEmpty && key.unicodeScalars.allSatisfy(isShowable), "a key has no name that can be shown")
        },
        FuzzTarget(
            "openpgp-armour", lengthLimit: 1024,
            words: [
                "-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n", "Version: 1\n", "\n\n", "=", "\r\n",
            ]
        ) { bytes in
            guard let binary = OpenPGPArmour.bytes(of: bytes) else { return }
            try demand(binary.count <= bytes.count, "armour holds more than it is long")
            // Whatever a line ends with, it is the same.
            guard binary != bytes, let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0x0D) else {
                return
            }
            let other = Array(
                text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).joined(separator: [0x0D, 0x0A]))
            try demand(OpenPGPArmour.bytes(of: other) == binary, "armour is another where its lines end in CR LF")
        },
    ]
}

/// A small text, signed by `signify-openbsd` with a key of nobody.
enum UsignSample {
    static let message = Array("flashing-station\n".utf8)
    static let keyText = """
        untrusted comment: signify public key
        RWRSqdYh9ZBXys1zEkmY7DPR/Adb+mSP5ZB4NcC/JY7/HGO4NQm8vHmW

        """
    static let signatureText = """
        untrusted comment: verify with sample.pub
        RWRSqdYh9ZBXyq36fB1UuNuYWnrX+0P811VVyo7oFBboQgB4ymv5KOj3Y8XueTFwMpNwaWBLHawdIFXd1fdYhrfN/YNKLhS8bgk=

        """
    static let key = try? UsignKey(Array(keyText.utf8))
    static let signature = try? UsignSignature(Array(signatureText.utf8))

    static func isSigned(with key: UsignKey) -> Bool {
        guard let signature else { return false }
        return message.withUnsafeBytes { (try? signature.verify($0, keys: [key])) != nil }
    }

    static func verify(_ signature: UsignSignature, of bytes: [UInt8]) throws(StationError) -> UsignKey {
        let keys = [key].compactMap { $0 }
        let result: Result<UsignKey, StationError> = bytes.withUnsafeBytes { bytes in
            do throws(StationError) { return .success(try signature.verify(bytes, keys: keys)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
