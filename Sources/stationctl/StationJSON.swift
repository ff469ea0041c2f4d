import FoundationEssentials
import StationCore

/// Values as JSON in files and between programs.
enum StationJSON {
    static func encode(_ value: some Encodable) throws(StationError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do { return Array(try encoder.encode(value)) } catch { throw StationError("internal_error", "\(error)") }
    }

    /// Nil when the bytes are no such value.
    static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) -> Value? {
        try? JSONDecoder().decode(type, from: Data(bytes))
    }

    /// Reads a part of a backup.
    /// - Throws: `backup_invalid`.
    static func read<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8], _ name: String) throws(StationError)
        -> Value
    {
        do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
            throw StationError("backup_invalid", "\(name) cannot be read: \("\(error)".printable(limit: 300))")
        }
    }
}
