import Glibc
package import StationCore
import StationLinux

/// A file with a profile in it, read as the user who asks.
package enum ProfileFile {
    /// Reads a file and finds everything that is wrong with the profile in it. Blocks.
    package static func read(_ path: String) -> ProfileReading {
        var reading: ProfileReading
        do throws(DocumentProblem) {
            guard let format = DocumentFormat(fileName: path) else {
                throw DocumentProblem(
                    "format_unknown", "the name says no format", remedy: "end it in .yaml, .yml, .json or .toml",
                    at: .start)
            }
            reading = ProfileReader.read(try format.read(bytes(of: path)))
        } catch {
            reading = ProfileReading(violations: [ProfileViolation(error)])
        }
        for index in reading.violations.indices { reading.violations[index].file = path }
        return reading
    }

    private static func bytes(of path: String) throws(DocumentProblem) -> [UInt8] {
        do throws(SystemError) {
            // Without waiting for somebody who writes into a pipe of that name.
            let file = try Descriptor(opening: path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
            guard try file.status().kind == .regular else {
                throw SystemError("open", path, number: EINVAL)
            }
            // One byte too many is enough to know.
            return try SmallFile.read(file, path: path, limit: DocumentLimits.byteCount)
        } catch {
            switch error.number {
            case EFBIG:
                // Says what a document of that size is told.
                _ = try DocumentLimits.text(of: [UInt8](repeating: 0, count: DocumentLimits.byteCount + 1))
                return []
            case EINVAL: throw DocumentProblem("file_unreadable", "is no ordinary file", at: .start)
            default:
                throw DocumentProblem(
                    error.number == ENOENT ? "file_unknown" : "file_unreadable", SystemError.text(error.number),
                    at: .start)
            }
        }
    }
}
