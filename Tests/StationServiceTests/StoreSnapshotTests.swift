import Glibc
import StationCore
import StationLinux
import Testing

@testable import StationService

@Suite("store: snapshots, and those of a backup")
struct StoreSnapshotTests {
    private static func file(_ bench: StoreBench, _ name: String) throws -> Descriptor {
        try Descriptor(opening: "\(bench.directory)/\(name)", O_RDWR | O_CREAT, mode: 0o600)
    }

    @Test("a snapshot of an open store is a store with all that was in it, and leaves nothing beside it")
    func snapshot() async throws {
        let (bench, copy) = (try StoreBench(), try StoreBench())
        let store = try bench.open()
        let slot = try SlotName("slot1")
        try await store.saveConsent(
            slot: slot, isArmed: true, assignment: StoreBench.assignment(), change: .assign, callerUserID: 5)
        let before = bench.names
        let summary = try await StoreSnapshot.write(of: bench.path, into: Self.file(copy, "station.db"))
        #expect(bench.names == before)
        #expect(summary.schemaVersion == StoreSchema.migrations.count)
        #expect(summary.byteCount == UInt64(try copy.bytes("station.db").count))
        // What comes after it is not in it.
        try await store.saveConsent(
            slot: SlotName("slot2"), isArmed: true, assignment: StoreBench.assignment(), change: .assign,
            callerUserID: 5)
        let consent = try await copy.open().consent()
        #expect(consent[slot]?.isArmed == true && consent.count == 1)
    }

    @Test("a snapshot goes into an empty regular file that can be written, and nowhere else")
    func unsuitable() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let full = try Self.file(bench, "full")
        try [UInt8(1)].withUnsafeBytes { try full.write(all: $0) }
        let files = [
            full, try Descriptor(opening: "\(bench.directory)/full", O_RDONLY),
            try Descriptor(opening: "/dev/null", O_RDWR),
        ]
        for file in files {
            let error = await #expect(throws: StationError.self) {
                try await StoreSnapshot.write(of: bench.path, into: file)
            }
            #expect(error?.code == "descriptor_unsuitable")
        }
        withExtendedLifetime(store) {}
    }

    @Test(
        "a store that is open is not written from outside; what a snapshot left that was killed goes at the next start")
    func closed() throws {
        let bench = try StoreBench()
        try bench.write([1], to: "station.db.snapshot-abc")
        do {
            let store = try bench.open()
            let error = #expect(throws: StationError.self) {
                try StoreSnapshot.write(ofClosed: bench.path, into: Self.file(bench, "out"))
            }
            #expect(error?.code == "store_in_use")
            withExtendedLifetime(store) {}
        }
        #expect(!bench.names.contains { $0.contains("snapshot") })
        try bench.waitUntilClosed()
        #expect(try StoreSnapshot.write(ofClosed: bench.path, into: Self.file(bench, "out")).jobCount == 0)
    }

    @Test("an adopted store has every slot disarmed, waits for no image, and says who restored it")
    func adopt() async throws {
        let bench = try StoreBench()
        do {
            let store = try bench.open()
            try await store.saveConsent(
                slot: SlotName("slot1"), isArmed: true, assignment: StoreBench.assignment(), change: .assign,
                callerUserID: 5)
            try await store.saveConsent(
                slot: SlotName("slot2"), isArmed: false, assignment: nil, change: .prepare, callerUserID: 5,
                preparation: SlotMachine.Preparation(profile: "home.ap", callerUserID: 5))
        }
        try bench.waitUntilClosed()
        try StoreSnapshot.adopt(bench.path, detail: "box 2026", callerUserID: 7, hasBuilders: false)
        try bench.waitUntilClosed()
        let store = try bench.open()
        let consent = try await store.consent()
        #expect(consent.count == 2)
        for each in consent.values {
            #expect(!each.isArmed && each.disarmReason == .restored && each.preparation == nil)
        }
        #expect(consent[try SlotName("slot1")]?.assignment == (try StoreBench.assignment()))
        let change = try #require(try await store.changes(limit: 1).first)
        #expect(change.kind == .restore && change.detail == "box 2026" && change.userID == 7)
    }

    @Test(
        "a store that no station makes is not adopted",
        arguments: [
            ("CREATE TRIGGER evil AFTER UPDATE ON slot_consent BEGIN SELECT 1; END", "store_corrupt"),
            ("CREATE VIEW evil AS SELECT 1", "store_corrupt"),
            ("CREATE TABLE evil (a INTEGER) STRICT", "store_corrupt"),
            ("DROP TABLE changes", "store_corrupt"), ("PRAGMA application_id = 5", "store_foreign"),
            ("INSERT INTO migrations VALUES (99, 'later', 0)", "store_from_future"),
            ("DELETE FROM migrations", "store_corrupt"),
        ])
    func foreign(statement: String, code: String) throws {
        let bench = try StoreBench()
        do { _ = try bench.open() }
        try bench.waitUntilClosed()
        try StoreDatabase(path: bench.path).execute(statement)
        let error = #expect(throws: StationError.self) {
            try StoreSnapshot.adopt(bench.path, detail: "", callerUserID: 0, hasBuilders: true)
        }
        #expect(error?.code == code)
    }
}
