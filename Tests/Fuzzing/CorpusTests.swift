import StationCore
import StationLinux
import Testing

/// What the fuzzers found worth keeping, taken once more by what is built and tested every day.
@Suite("the fuzzers' corpora")
struct CorpusTests {
    private static let corpora = "\(#filePath.dropLast("CorpusTests.swift".count))corpus"

    @Test("every input is taken as it must be", arguments: FuzzTarget.all.map(\.name))
    func replay(name: String) throws {
        let target = try #require(FuzzTarget.named(name))
        let directory = "\(Self.corpora)/\(name)"
        let inputs = try #require(SmallFile.names(in: directory))
        #expect(!inputs.isEmpty)
        for input in inputs.sorted() {
            do { try target.take(SmallFile.read("\(directory)/\(input)", limit: 1 << 20)) } catch {
                Issue.record("corpus/\(name)/\(input): \(error)")
            }
        }
    }

    @Test("belong to targets that there are")
    func belong() throws {
        let corpora = try #require(SmallFile.names(in: Self.corpora))
        #expect(Set(corpora) == Set(FuzzTarget.all.map(\.name)))
    }

    @Test(
        "an error that nobody could read is noticed",
        arguments: [
            StationError("", "no code"), StationError("Code", "a code of another form"), StationError("code", ""),
            StationError("code", "an escape: \u{1B}[2J"), StationError("code", "x", remedy: "a line\nfeed"),
            StationError("code", "turned \u{202E}round"), StationError("code", String(repeating: "x", count: 20_000)),
        ])
    func unreadable(error: StationError) {
        #expect(throws: Violation.self) { try accepted { throw error } }
    }

    @Test("an error that is as it should be is taken for a refusal, and any other for a failure")
    func readable() throws {
        let refused: Int? = try accepted { throw StationError("code", "something is wrong", remedy: "mend it") }
        #expect(refused == nil)
        #expect(throws: SystemError.self) { try accepted { throw SystemError("open", "x", number: 2) } }
        #expect(throws: Violation.self) { try demand(false, "nothing holds") }
    }
}
