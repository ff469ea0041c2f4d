/// What went wrong, for a person and for a program: a stable code, one sentence that names the thing, and the mend.
///
/// The same code stands in the command line's JSON, in errors on the control socket, in records and in the journal.
package struct StationError: Error, Equatable, Codable, Sendable, CustomStringConvertible {
    /// A stable word in snake_case, such as `slot_unknown`.
    package var code: String
    /// What is wrong, naming the field, file or device.
    package var message: String
    /// What to do about it, preferably a command; empty where there is nothing to do.
    package var remedy: String

    package init(_ code: String, _ message: String, remedy: String = "") {
        self.code = code
        self.message = message
        self.remedy = remedy
    }

    package var description: String { remedy.isEmpty ? message : "\(message) — \(remedy)" }
}
