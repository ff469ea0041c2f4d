/// Where a file with holes has bytes, as GNU tar's sparse format 1.0 writes it before them.
package struct SparseMap: Equatable, Sendable {
    /// The longest map that is read, in bytes.
    package static let byteLimit = 64 << 20

    package struct Part: Equatable, Sendable {
        package var offset: UInt64
        package var byteCount: UInt64
        package init(offset: UInt64, byteCount: UInt64) {
            self.offset = offset
            self.byteCount = byteCount
        }
    }

    package var parts: [Part]
    package init(parts: [Part]) { self.parts = parts }

    /// Of the bytes that are there.
    package var byteCount: UInt64 { parts.reduce(0) { $0 + $1.byteCount } }

    /// In whole blocks.
    package var bytes: [UInt8] {
        var result = Array("\(parts.count)\n".utf8)
        for part in parts { result += Array("\(part.offset)\n\(part.byteCount)\n".utf8) }
        return result + [UInt8](repeating: 0, count: TarHeader.padding(UInt64(result.count)))
    }

    /// Reads a map: takes blocks as it needs them.
    /// - Throws: what `next` throws; `backup_member` for one that does not fit the file.
    package init(of path: String, fileByteCount: UInt64, next: () throws -> [UInt8]) throws {
        var bytes: [UInt8] = []
        var position = 0
        func number() throws -> UInt64 {
            var digits: [UInt8] = []
            while true {
                if position == bytes.count {
                    guard bytes.count < Self.byteLimit else { throw BackupArea.refusal(path, "has too many holes") }
                    bytes += try next()
                }
                let byte = bytes[position]
                position += 1
                if byte == 0x0A { break }
                digits.append(byte)
                guard digits.count <= 20 else { break }
            }
            guard let value = UInt64(String(decoding: digits, as: UTF8.self)) else {
                throw BackupArea.refusal(path, "has holes that cannot be read")
            }
            return value
        }
        var parts: [Part] = []
        var end: UInt64 = 0
        let count = try number()
        guard count <= UInt64(Self.byteLimit) / 4 else { throw BackupArea.refusal(path, "has too many holes") }
        for _ in 0..<count {
            let part = Part(offset: try number(), byteCount: try number())
            let (partEnd, isTooMuch) = part.offset.addingReportingOverflow(part.byteCount)
            guard !isTooMuch, part.offset >= end, partEnd <= fileByteCount else {
                throw BackupArea.refusal(path, "has parts that do not fit into it")
            }
            end = partEnd
            parts.append(part)
        }
        self.parts = parts
    }
}
