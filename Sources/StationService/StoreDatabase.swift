import CSQLite
import StationCore
import StationLinux

/// One value of a column or of a statement's parameter.
enum StoreValue: Equatable, Sendable {
    case null
    case integer(Int64)
    case real(Double)
    case text(String)

    static func integer(_ value: UInt64) -> StoreValue { .integer(Int64(bitPattern: value)) }
    static func integer(_ value: UInt32?) -> StoreValue { value.map { .integer(Int64($0)) } ?? .null }
    static func flag(_ value: Bool) -> StoreValue { .integer(value ? Int64(1) : 0) }
    static func text(_ value: String?) -> StoreValue { value.map { .text($0) } ?? .null }
}

/// One row of an answer, its columns by name.
///
/// A column of another type than asked for is `store_corrupt`: the tables are STRICT, so only damage can bring it about.
struct StoreRow: Sendable {
    let columns: [String: Int]
    let values: [StoreValue]

    subscript(_ column: String) -> StoreValue { columns[column].map { values[$0] } ?? .null }

    func text(_ column: String) throws(StationError) -> String {
        guard case .text(let value) = self[column] else { throw wrongType(column) }
        return value
    }

    func optionalText(_ column: String) -> String? {
        if case .text(let value) = self[column] { value } else { nil }
    }

    func integer(_ column: String) throws(StationError) -> Int64 {
        guard case .integer(let value) = self[column] else { throw wrongType(column) }
        return value
    }

    func count(_ column: String) throws(StationError) -> UInt64 { UInt64(bitPattern: try integer(column)) }
    func flag(_ column: String) throws(StationError) -> Bool { try integer(column) != 0 }

    func real(_ column: String) throws(StationError) -> Double {
        switch self[column] {
        case .real(let value): return value
        // A whole number in a REAL column comes back as such from RETURNING.
        case .integer(let value): return Double(value)
        default: throw wrongType(column)
        }
    }

    func userID(_ column: String) -> UInt32? {
        if case .integer(let value) = self[column] { UInt32(exactly: value) } else { nil }
    }

    /// What to throw when a column holds what does not belong there.
    func wrongType(_ column: String) -> StationError {
        StationError("store_corrupt", "the column “\(column)” of the store holds what does not belong there")
    }
}

/// One connection to an SQLite file. Every method blocks.
///
/// Errors are `store_corrupt` (the file is damaged or no database), `storage_full`, or `store_unusable`.
///
/// `@unchecked Sendable` because SQLite is opened without mutexes: the store uses it in its initialiser, before anybody knows it,
/// and from then on on its one serial queue alone.
final class StoreDatabase: @unchecked Sendable {
    private let connection: OpaquePointer
    private let path: String
    /// Held until the file is closed, which may be after the store itself has gone.
    private let lock: Descriptor?

    /// Opens the file, or makes an empty one. Corresponds to `sqlite3_open_v2`.
    /// - Parameter lock: what keeps others off the file.
    init(path: String, lock: Descriptor? = nil) throws(StationError) {
        var handle: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let result = sqlite3_open_v2(path, &handle, flags, nil)
        guard result == SQLITE_OK, let handle else {
            let error = Self.error(result, handle, path: path)
            sqlite3_close_v2(handle)
            throw error
        }
        connection = handle
        self.path = path
        self.lock = lock
        // Nobody but us writes; who looks in with the sqlite3 tool may keep it locked for a moment.
        sqlite3_busy_timeout(handle, 5000)
    }

    deinit { sqlite3_close_v2(connection) }

    /// Runs statements that have neither parameters nor answers. Corresponds to `sqlite3_exec`.
    func execute(_ statements: String) throws(StationError) {
        let result = sqlite3_exec(connection, statements, nil, nil, nil)
        guard result == SQLITE_OK else { throw error(result) }
    }

    /// Runs one statement.
    /// - Returns: the number of rows it changed.
    @discardableResult
    func run(_ statement: String, _ parameters: [StoreValue] = []) throws(StationError) -> Int {
        _ = try query(statement, parameters)
        return Int(sqlite3_changes(connection))
    }

    /// Runs one statement and reads its whole answer.
    func query(_ statement: String, _ parameters: [StoreValue] = []) throws(StationError) -> [StoreRow] {
        var prepared: OpaquePointer?
        let result = sqlite3_prepare_v2(connection, statement, -1, &prepared, nil)
        guard result == SQLITE_OK, let prepared else { throw error(result) }
        defer { sqlite3_finalize(prepared) }
        try bind(parameters, to: prepared)
        var names: [String: Int] = [:]
        for index in 0..<sqlite3_column_count(prepared) {
            names[sqlite3_column_name(prepared, index).map { String(cString: $0) } ?? ""] = Int(index)
        }
        var rows: [StoreRow] = []
        while true {
            let step = sqlite3_step(prepared)
            if step == SQLITE_DONE { return rows }
            guard step == SQLITE_ROW else { throw error(step) }
            rows.append(StoreRow(columns: names, values: Self.values(prepared)))
        }
    }

    /// The key that the last insertion made. Corresponds to `sqlite3_last_insert_rowid`.
    var lastInsertedKey: Int64 { sqlite3_last_insert_rowid(connection) }

    /// All of the body, or nothing of it. When this returns, the change is on the disk.
    // The closure is untyped: one with typed throws handed to a generic parameter crashes the compiler.
    func transaction<Value>(_ body: () throws -> Value) throws -> Value {
        try execute("BEGIN IMMEDIATE")
        do {
            let value = try body()
            try execute("COMMIT")
            return value
        } catch {
            // Some errors have rolled back already; then there is nothing left to end.
            if sqlite3_get_autocommit(connection) == 0 { try execute("ROLLBACK") }
            throw error
        }
    }

    private func bind(_ parameters: [StoreValue], to statement: OpaquePointer) throws(StationError) {
        for (index, parameter) in parameters.enumerated() {
            let position = Int32(index + 1)
            let result =
                switch parameter {
                case .null: sqlite3_bind_null(statement, position)
                case .integer(let value): sqlite3_bind_int64(statement, position, value)
                case .real(let value): sqlite3_bind_double(statement, position, value)
                case .text(let value): station_bind_text(statement, position, value, Int32(value.utf8.count))
                }
            guard result == SQLITE_OK else { throw error(result) }
        }
    }

    private static func values(_ statement: OpaquePointer) -> [StoreValue] {
        (0..<sqlite3_column_count(statement)).map { index in
            switch sqlite3_column_type(statement, index) {
            case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement, index))
            case SQLITE_FLOAT: return .real(sqlite3_column_double(statement, index))
            case SQLITE_TEXT:
                guard let text = sqlite3_column_text(statement, index) else { return .null }
                let count = Int(sqlite3_column_bytes(statement, index))
                return .text(String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self))
            // No table of the store has blobs.
            default: return .null
            }
        }
    }

    private func error(_ result: Int32) -> StationError { Self.error(result, connection, path: path) }

    private static func error(_ result: Int32, _ connection: OpaquePointer?, path: String) -> StationError {
        let text = connection.flatMap { sqlite3_errmsg($0) } ?? sqlite3_errstr(result)
        let message = "\(path.printable()): \(text.map { String(cString: $0) } ?? "error \(result)")"
        // The low byte is the kind of error, the rest says more exactly where.
        switch result & 0xFF {
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            return StationError(
                "store_corrupt", message, remedy: "restart the station: it moves the damaged file aside and begins anew"
            )
        case SQLITE_FULL:
            return StationError("storage_full", message, remedy: "make room on that file system: df -h")
        case SQLITE_READONLY, SQLITE_PERM, SQLITE_CANTOPEN:
            return StationError(
                "store_unusable", message, remedy: "the directory and the file must belong to the user of stationd")
        default: return StationError("store_unusable", message, remedy: "check that file system: df -h, dmesg")
        }
    }
}
