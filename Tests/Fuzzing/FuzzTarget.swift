import StationCore

/// One parser of what comes from outside, and what must hold whatever comes.
struct FuzzTarget: Sendable {
    let name: String
    /// In bytes. What longer inputs would find, shorter ones find sooner.
    let lengthLimit: Int
    /// Words of the format that libFuzzer would take long to come upon.
    let words: [String]
    /// - Throws: `Violation`, for what a parser must not do.
    let take: @Sendable ([UInt8]) throws -> Void

    init(
        _ name: String, lengthLimit: Int, words: [String] = [], take: @escaping @Sendable ([UInt8]) throws -> Void
    ) {
        self.name = name
        self.lengthLimit = lengthLimit
        self.words = words
        self.take = take
    }

    static let all: [FuzzTarget] =
        textTargets + declarationTargets + documentTargets + messageTargets + listTargets + imageTargets + tarTargets
        + cardTargets

    static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// Something does not hold that must hold for every input.
struct Violation: Error, CustomStringConvertible {
    let description: String
}

/// - Throws: `Violation`.
func demand(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    if !holds { throw Violation(description: what()) }
}

/// What a parser makes of its input; nil where it refuses it as it should: with an error that somebody can read.
/// - Throws: `Violation`.
func accepted<Value>(_ parse: () throws -> Value) throws -> Value? {
    do { return try parse() } catch let error as StationError {
        try demandReadable(error.code, error.message, error.remedy)
    } catch let problem as DocumentProblem {
        try demandReadable(problem.code, problem.message, problem.remedy)
    } catch is DecodingError {}
    return nil
}

/// An error has a code for programs, and for people a sentence that neither the terminal nor the journal takes for anything else.
func demandReadable(_ code: String, _ message: String, _ remedy: String) throws {
    try demand(
        !code.isEmpty && code.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 },
        "an error has the code “\(code.printable())”")
    try demand(!message.isEmpty, "the error \(code) says nothing")
    for text in [message, remedy] {
        try demand(text.unicodeScalars.allSatisfy(isShowable), "the error \(code) has control characters in it")
        try demand(text.utf8.count < 16 * 1024, "the error \(code) is \(text.utf8.count) bytes long")
    }
}

/// Whether a terminal shows it as a sign, and does nothing because of it.
func isShowable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF: false
    default: true
    }
}
