import Glibc
package import StationCore

/// A system call that failed: the call, what it was about, and the errno.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The errno.
    package var number: Int32
    /// The call's name, such as `open`.
    package var call: String
    /// The path or device it was about.
    package var subject: String

    package init(_ call: String, _ subject: String, number: Int32 = errno) {
        self.number = number
        self.call = call
        self.subject = subject
    }

    /// `open /dev/sda: No medium found`.
    package var description: String { "\(call) \(subject.printable()): \(Self.text(number))" }

    /// The errno in words.
    package static func text(_ number: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        guard strerror_r_portable(number, &buffer) else { return "error \(number)" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The same as an error with a code, for the user's eyes.
    package func asStationError(_ code: String, remedy: String = "") -> StationError {
        StationError(code, description, remedy: remedy)
    }

    private static func strerror_r_portable(_ number: Int32, _ buffer: inout [CChar]) -> Bool {
        strerror_r(number, &buffer, buffer.count) == 0
    }
}

/// Calls again while the call is interrupted by a signal.
/// - Throws: `SystemError` when the result is negative.
package func retrying<Result: SignedInteger>(
    _ call: String, _ subject: @autoclosure () -> String, _ body: () -> Result
) throws(SystemError) -> Result {
    while true {
        let result = body()
        if result >= 0 { return result }
        if errno != EINTR { throw SystemError(call, subject()) }
    }
}
