/// What a build's `profiles.json` says of its images, as far as the station needs it: of any release since 19.07.
package struct ImagesOverview: Equatable, Sendable {
    /// One image file of a device.
    package struct Image: Equatable, Codable, Sendable {
        package var name: String
        package var type: String
        /// Nil where the image has none of its own, or the release does not say.
        package var filesystem: String?
        package var sha256: SHA256Digest

        package init(name: String, type: String, filesystem: String?, sha256: SHA256Digest) {
            self.name = name
            self.type = type
            self.filesystem = filesystem
            self.sha256 = sha256
        }
    }

    package var target: String
    package var versionCode: String
    /// By the device's name.
    package var images: [String: [Image]]

    /// The longest that is read, in bytes: that of the largest target has some 200 kB.
    package static let byteLimit = 8 << 20

    /// - Throws: `overview_invalid`.
    package init(_ document: JSONValue) throws(StationError) {
        guard case .object(let table) = document, case .string(let target)? = table["target"],
            case .string(let versionCode)? = table["version_code"], case .object(let profiles)? = table["profiles"]
        else { throw Self.invalid("it has no target, version code and profiles") }
        self.target = target.printable()
        self.versionCode = versionCode.printable()
        images = [:]
        for (device, profile) in profiles {
            guard case .object(let profile) = profile, case .array(let entries)? = profile["images"] else {
                throw Self.invalid("“\(device.printable(limit: 60))” has no images")
            }
            var list: [Image] = []
            for entry in entries { list.append(try Self.image(entry)) }
            images[device] = list
        }
    }

    private static func image(_ value: JSONValue) throws(StationError) -> Image {
        guard case .object(let table) = value, case .string(let name)? = table["name"],
            case .string(let type)? = table["type"], case .string(let digits)? = table["sha256"],
            let sha256 = SHA256Digest(digits)
        else { throw invalid("an image has no name, type and SHA-256") }
        guard isFileName(name) else { throw invalid("“\(name.printable(limit: 80))” is no file's name") }
        var filesystem: String?
        if case .string(let text)? = table["filesystem"] { filesystem = text.printable(limit: 40) }
        return Image(name: name, type: type.printable(limit: 80), filesystem: filesystem, sha256: sha256)
    }

    /// Whether a name is one that an Image Builder gives: no path, nothing that a terminal takes for a command.
    package static func isFileName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 255 && name != "." && name != ".."
            && name.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "+")].contains(byte)
            }
    }

    private static func invalid(_ why: String) -> StationError {
        StationError(
            "overview_invalid", "the build's profiles.json makes no sense: \(why)",
            remedy: "stationctl builds log BUILD; this release may be too old for the station")
    }
}
