/// A value that is one string in JSON: its description.
package protocol TextCoded: Codable, CustomStringConvertible {
    /// Reads the string back.
    init(coded text: String) throws(StationError)
}

extension TextCoded {
    package init(from decoder: any Decoder) throws {
        try self.init(coded: decoder.singleValueContainer().decode(String.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// The name of a slot: 1 to 31 of `a–z 0–9 _ -`, the first a letter or digit.
///
/// It becomes part of file names, unit names and device links, so nothing else is let in.
package struct SlotName: Hashable, Comparable, TextCoded, Sendable {
    package let text: String

    /// - Throws: `slot_name_invalid` when the text does not have that form.
    package init(_ text: String) throws(StationError) {
        let bytes = Array(text.utf8)
        let isNameByte: (UInt8) -> Bool = { byte in
            (97...122).contains(byte) || (48...57).contains(byte) || byte == 95 || byte == 45
        }
        guard (1...31).contains(bytes.count), bytes.allSatisfy(isNameByte), bytes[0] != 95, bytes[0] != 45 else {
            throw StationError(
                "slot_name_invalid", "“\(text.printable(limit: 40))” is no slot name",
                remedy: "use 1 to 31 of a–z, 0–9, - and _, beginning with a letter or digit, such as slot1")
        }
        self.text = text
    }

    package init(coded text: String) throws(StationError) { try self.init(text) }

    package static func < (left: SlotName, right: SlotName) -> Bool {
        left.text.comparesNaturally(before: right.text)
    }

    package var description: String { text }
}

/// The name of an image in the library: 1 to 128 of `A–Z a–z 0–9 . _ + -`, the first a letter or digit.
package struct ImageName: Hashable, Comparable, TextCoded, Sendable {
    package let text: String

    /// - Throws: `image_name_invalid` when the text does not have that form.
    package init(_ text: String) throws(StationError) {
        let bytes = Array(text.utf8)
        let isAlphanumeric: (UInt8) -> Bool = { byte in
            (65...90).contains(byte) || (97...122).contains(byte) || (48...57).contains(byte)
        }
        guard (1...128).contains(bytes.count), isAlphanumeric(bytes[0]),
            bytes.allSatisfy({ isAlphanumeric($0) || [46, 95, 43, 45].contains($0) })
        else {
            throw StationError(
                "image_name_invalid", "“\(text.printable(limit: 40))” is no image name",
                remedy: "use 1 to 128 of A–Z, a–z, 0–9, . _ + -, beginning with a letter or digit")
        }
        self.text = text
    }

    package init(coded text: String) throws(StationError) { try self.init(text) }

    package static func < (left: ImageName, right: ImageName) -> Bool { left.text < right.text }
    package var description: String { text }
}

/// The key of one job: 32 lower-case hexadecimal digits, unlike those of every other job of every station.
package struct JobID: Hashable, TextCoded, Sendable {
    package let text: String

    /// A new key from the system's random numbers.
    package init() {
        var random = SystemRandomNumberGenerator()
        text = Self.hexadecimal(random.next()) + Self.hexadecimal(random.next())
    }

    /// Nil when the text is not 32 lower-case hexadecimal digits.
    package init?(_ text: String) {
        guard text.utf8.count == 32, text.isLowerHexadecimal else { return nil }
        self.text = text
    }

    package init(coded text: String) throws(StationError) {
        guard let value = JobID(text) else {
            throw StationError("job_id_invalid", "a job id has 32 hexadecimal digits")
        }
        self = value
    }

    /// The first eight digits: enough to tell jobs apart on a screen.
    package var short: String { String(text.prefix(8)) }
    package var description: String { text }

    private static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}

/// A SHA-256 as 64 lower-case hexadecimal digits.
package struct SHA256Digest: Hashable, TextCoded, Sendable {
    package let hexadecimal: String

    /// Nil when the text is not 64 lower-case hexadecimal digits.
    package init?(_ hexadecimal: String) {
        guard hexadecimal.utf8.count == 64, hexadecimal.isLowerHexadecimal else { return nil }
        self.hexadecimal = hexadecimal
    }

    /// - Parameter bytes: exactly 32 bytes, else the result is nil.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 32 else { return nil }
        hexadecimal = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    package init(coded text: String) throws(StationError) {
        guard let value = SHA256Digest(text) else {
            throw StationError("sha256_invalid", "a SHA-256 has 64 lower-case hexadecimal digits")
        }
        self = value
    }

    package var short: String { String(hexadecimal.prefix(12)) }
    package var description: String { hexadecimal }
}
