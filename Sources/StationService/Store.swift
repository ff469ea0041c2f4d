@preconcurrency import Dispatch
import FoundationEssentials
package import StationCore
import StationLinux
import Synchronization

/// The time by the wall clock, and whether it could be believed.
package struct WallTime: Equatable, Sendable {
    /// Since 1970.
    package var seconds: Double
    /// Whether a time source had set the clock.
    package var isSynchronised: Bool

    package init(seconds: Double, isSynchronised: Bool) {
        self.seconds = seconds
        self.isSynchronised = isSynchronised
    }

    /// By this machine's clock.
    package static func now() -> WallTime {
        WallTime(seconds: SystemClock.wallSeconds(), isSynchronised: SystemClock.isSynchronised())
    }
}

/// What the station remembers: consent, jobs, images, and who changed what.
///
/// One SQLite file with a write-ahead log. What a method has written is on the disk when it returns. Its work is done on
/// a serial queue of its own, in the order in which it was asked for, and blocks nobody else.
///
/// Every method throws `store_corrupt`, `storage_full` or `store_unusable` when the file fails it, besides what stands
/// with the method.
package final class Store: Sendable {
    /// What was wrong with the file and how it was mended; for the station's own problems and its journal.
    package let problems: [StationError]
    /// The jobs that had begun and had no verdict when the store was opened, in their order. They are `interrupted` now.
    package let interruptedJobs: [JobRecord]

    let bootID: String
    let clock: @Sendable () -> WallTime
    /// Verdicts that the file would not take, the oldest first.
    let overdue = Mutex<[JobEnding]>([])
    private let file: StoreFile
    private let queue = DispatchQueue(label: "station.store")

    /// Opens the store, or makes an empty one; its directory must be there. Blocks; for start-up.
    ///
    /// A damaged file is moved aside, as `station.db.broken-<time>`, and `problems` says so.
    /// - Throws: `store_in_use`, `store_from_future`, `store_foreign`, `store_unusable`, `storage_full`.
    package convenience init(path: String, bootID: String) throws(StationError) {
        try self.init(path: path, bootID: bootID, clock: WallTime.now)
    }

    /// The same with a clock of the caller's; for tests.
    package convenience init(path: String, bootID: String, clock: @escaping @Sendable () -> WallTime)
        throws(StationError)
    {
        try self.init(path: path, bootID: bootID, clock: clock, steps: StoreSchema.migrations)
    }

    init(
        path: String, bootID: String, clock: @escaping @Sendable () -> WallTime, steps: [StoreMigration],
        wholeCheckLimit: UInt64 = StoreFile.wholeCheckLimit
    ) throws(StationError) {
        let file = try StoreFile(path: path, steps: steps, now: clock().seconds, wholeCheckLimit: wholeCheckLimit)
        self.file = file
        self.bootID = bootID
        self.clock = clock
        problems = file.problems
        interruptedJobs = file.interruptedJobs
    }

    /// Runs a body on the store's queue and waits for it without blocking a thread.
    // The body is untyped: closures with typed throws crash the compiler when they are handed to a generic parameter.
    func perform<Value: Sendable>(_ body: @escaping @Sendable (StoreDatabase) throws -> Value)
        async
        throws(StationError) -> Value
    {
        let database = file.database
        let result: Result<Value, StationError> = await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: Self.result { try body(database) }) }
        }
        return try result.get()
    }

    /// Runs a body on the store's queue after a while, unless the store has gone by then.
    func perform(after seconds: Double, _ body: @escaping @Sendable (Store, StoreDatabase) -> Void) {
        queue.asyncAfter(deadline: .now() + seconds) { [weak self] in
            guard let self else { return }
            body(self, file.database)
        }
    }

    static func result<Value>(_ body: () throws -> Value) -> Result<Value, StationError> {
        do {
            return .success(try body())
        } catch let error as StationError {
            return .failure(error)
        } catch {
            return .failure(StationError("store_unusable", "the store: \(error)"))
        }
    }
}

/// Values as JSON text, for columns that nothing filters by.
enum StoreJSON {
    static func text(_ value: some Encodable) throws(StationError) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return String(decoding: try encoder.encode(value), as: UTF8.self)
        } catch {
            throw StationError("store_unusable", "a record cannot be written as JSON: \(error)")
        }
    }

    /// Nil when the text is not, or no longer, of that form.
    static func value<Value: Decodable>(_ type: Value.Type, _ text: String?) -> Value? {
        text.flatMap { try? JSONDecoder().decode(type, from: Data($0.utf8)) }
    }
}
