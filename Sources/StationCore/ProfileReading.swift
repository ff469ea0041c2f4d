/// One thing that is wrong with a profile: where exactly, what, and what to do.
package struct ProfileViolation: Error, Equatable, Codable, Sendable {
    /// A stable word in snake_case, such as `value_invalid`.
    package var code: String
    /// As it was named; empty where there is no file.
    package var file: String = ""
    /// Counted from 1.
    package var line: Int
    package var column: Int
    /// Such as `files[2].mode`; empty for the document as a whole.
    package var field: String
    package var message: String
    package var remedy: String

    package init(
        _ code: String, field: String, _ message: String, remedy: String = "", at position: DocumentPosition
    ) {
        self.code = code
        self.field = field
        self.message = message
        self.remedy = remedy
        line = position.line
        column = position.column
    }

    /// A document that could not be read at all.
    package init(_ problem: DocumentProblem) {
        self.init(problem.code, field: "", problem.message, remedy: problem.remedy, at: problem.position)
    }

    /// A file with a profile whose key another file gives to another profile.
    package init(_ profileID: String, of file: String, isAlsoIn other: String) {
        self.init(
            "profile_id_duplicate", field: "profile_id", "“\(profileID)” is another profile in \(other)",
            remedy: "each profile has a profile_id of its own", at: .start)
        self.file = file
    }

    package var position: DocumentPosition { DocumentPosition(line: line, column: column) }

    /// As compilers say it: `ap.yaml:3:7: target: is empty; such as bcm27xx`.
    package var text: String {
        let place = file.isEmpty ? "" : "\(file.printable(limit: 500)):\(line):\(column): "
        let subject = field.isEmpty ? "" : "\(field.printable(limit: 200)): "
        return place + subject + message + (remedy.isEmpty ? "" : "; \(remedy)")
    }
}

/// Something that is right, and that its author should know.
package struct ProfileNote: Equatable, Codable, Sendable {
    /// `not_available`: a preference that the Image Builder cannot honour; `listed_twice`: harmless.
    package var code: String
    package var field: String
    package var message: String

    package init(_ code: String, field: String, _ message: String) {
        self.code = code
        self.field = field
        self.message = message
    }
}

/// What came of reading a profile: the profile, or everything that is wrong with it.
package struct ProfileReading: Equatable, Sendable {
    /// Nil when there are violations.
    package var profile: Profile?
    package var meta: ProfileMeta?
    /// In the order of the file.
    package var violations: [ProfileViolation]
    /// Where fields stand, such as `files[0].source`, for what is found out about them later.
    package var positions: [String: DocumentPosition] = [:]

    package init(
        profile: Profile? = nil, meta: ProfileMeta? = nil, violations: [ProfileViolation],
        positions: [String: DocumentPosition] = [:]
    ) {
        self.profile = profile
        self.meta = meta
        self.violations = violations
        self.positions = positions
    }

    /// All violations as one error, for where only one fits.
    package var error: StationError {
        let first = violations.first
        let more = violations.count > 1 ? " (and \(violations.count - 1) more)" : ""
        return StationError(
            first?.code ?? "internal_error", "the profile is not valid: \(first?.text ?? "")\(more)",
            remedy: "see stationctl profile validate FILE")
    }
}
