import StationCore
import Testing

@testable import StationService

@Suite("consent, images and audit in the store")
struct StoreConsentTests {
    @Test("consent is what was said last, slot by slot")
    func consent() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let (one, two) = (try SlotName("slot1"), try SlotName("slot2"))
        let (router, server) = (try StoreBench.assignment(), try StoreBench.assignment("server", "b"))
        try await store.saveConsent(slot: one, isArmed: true, assignment: router, change: .assign, callerUserID: 1000)
        try await store.saveConsent(slot: two, isArmed: true, assignment: server, change: .assign, callerUserID: 1000)
        try await store.saveConsent(
            slot: one, isArmed: false, assignment: router, change: .disarm, callerUserID: nil,
            disarmReason: .failuresInARow)
        #expect(
            try await store.consent() == [
                one: SlotConsent(assignment: router, disarmReason: .failuresInARow),
                two: SlotConsent(isArmed: true, assignment: server),
            ])
        try await store.saveConsent(slot: one, isArmed: true, assignment: router, change: .arm, callerUserID: 1000)
        try await store.saveConsent(slot: two, isArmed: false, assignment: nil, change: .unassign, callerUserID: 1001)
        #expect(
            try await store.consent() == [one: SlotConsent(isArmed: true, assignment: router), two: SlotConsent()])
    }

    @Test("no slot is armed with nothing assigned, whoever asks, and whatever asks the file")
    func armedWithNothing() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let error = await storeFailure {
            try await store.saveConsent(
                slot: SlotName("slot1"), isArmed: true, assignment: nil, change: .arm, callerUserID: 0)
        }
        #expect(error?.code == "slot_unassigned")
        let insertion = "INSERT INTO slot_consent (slot, is_armed) VALUES ('slot1', 1)"
        let unknownBytes = """
            INSERT INTO assignments (slot, image, sha256, byte_count, boot_id, began_at, was_clock_synchronised)
            VALUES ('slot1', 'router', '\(String(repeating: "c", count: 64))', 1, 'b', 1, 1)
            """
        for statement in [insertion, unknownBytes] {
            let refusal = await storeFailure { try await store.perform { try $0.execute(statement) } }
            #expect(refusal?.message.contains("constraint failed") == true)
        }
        #expect(try await store.consent().isEmpty)
    }

    @Test("what a slot's cards got before stays known: what, from whom, and until when")
    func assignmentHistory() async throws {
        let bench = try StoreBench()
        let slot = try SlotName("slot1")
        for (index, digit) in ["a", "a", "b"].enumerated() {
            let store = try bench.open(bootID: "boot\(index)", at: Double(100 * (index + 1)))
            try await store.saveConsent(
                slot: slot, isArmed: true, assignment: StoreBench.assignment("router", Character(digit)),
                change: .assign,
                callerUserID: UInt32(1000 + index))
        }
        let rows = try await bench.open().perform { database in
            try database.query("SELECT sha256, began_at, began_by, ended_at, ended_by FROM assignments ORDER BY id")
        }
        // The same bytes again are the same assignment.
        #expect(rows.count == 2)
        #expect(rows.first?["began_at"] == .real(100) && rows.first?["ended_at"] == .real(300))
        #expect(rows.first?.userID("began_by") == 1000 && rows.first?.userID("ended_by") == 1002)
        #expect(rows.last?["ended_at"] == .null)
    }

    @Test("every change names who, what and when")
    func audit() async throws {
        let bench = try StoreBench()
        let store = try bench.open(at: 77)
        let (one, two) = (try SlotName("slot1"), try SlotName("slot2"))
        let router = try StoreBench.assignment()
        try await store.addImage(StoreBench.image("router", "a"), replaces: false)
        try await store.addImage(StoreBench.image("router", "a"), replaces: false)
        try await store.addImage(StoreBench.image("router", "b", by: 1002), replaces: true)
        try await store.saveConsent(slot: one, isArmed: true, assignment: router, change: .assign, callerUserID: 1003)
        try await store.saveConsent(
            slot: one, isArmed: false, assignment: router, change: .disarm, callerUserID: nil,
            disarmReason: .failuresInARow)
        try await store.saveConsent(slot: two, isArmed: false, assignment: nil, change: .unassign, callerUserID: 0)
        try await store.removeImage(named: ImageName("router"), callerUserID: 1004)
        let changes = try await store.changes().reversed().map { $0 }
        #expect(
            changes.map(\.kind) == [.importImage, .replaceImage, .assign, .disarm, .unassign, .removeImage],
            "the same bytes again are no change")
        #expect(changes.map(\.userID) == [1000, 1002, 1003, nil, 0, 1004])
        #expect(changes.map(\.slot) == [nil, nil, one, one, two, nil])
        #expect(changes.map(\.sequence) == [1, 2, 3, 4, 5, 6])
        #expect(changes.allSatisfy { $0.changedAt == 77 && $0.bootID == "boot1" && $0.wasClockSynchronised })
        #expect(changes[2].image == router.image && changes[2].sha256 == router.sha256)
        #expect(changes[3].detail == "failures_in_a_row")
        #expect(try await store.changes(slot: one).map(\.kind) == [.disarm, .assign])
        #expect(try await store.changes(limit: 1).map(\.kind) == [.removeImage])
    }

    @Test("where an image came from is kept; the same bytes, better vouched for, are worth a new record")
    func origins() async throws {
        let store = try StoreBench().open()
        var image = try StoreBench.image("router", "a")
        let vouchings: [(ImageVouching, isKept: Bool)] = [
            (ImageVouching(kind: .none), true), (ImageVouching(kind: .sha256, subject: .image), true),
            (ImageVouching(kind: .bmap, subject: .image), false),
            (ImageVouching(kind: .signature, subject: .file, key: "b5043e70f9a75cde"), true),
            (ImageVouching(kind: .none), false),
        ]
        var kept = image.origin
        for (vouching, isKept) in vouchings {
            image.origin = ImageOrigin(
                fileName: "router.img.gz", container: "zip › gzip", isChecked: true, vouching: vouching)
            #expect(try await store.addImage(image, replaces: false) == nil)
            if isKept { kept = image.origin }
            #expect(try await store.image(named: image.name)?.origin == kept)
        }
    }

    @Test("a name is never given to other bytes unless somebody says so")
    func nameTaken() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let (first, second) = (try StoreBench.image("router", "a"), try StoreBench.image("router", "b"))
        #expect(try await store.addImage(first, replaces: false) == nil)
        #expect(await storeFailure { try await store.addImage(second, replaces: false) }?.code == "image_name_taken")
        #expect(try await store.image(named: first.name) == first)
        #expect(try await store.addImage(first, replaces: false) == nil)
        #expect(
            try await store.addImage(second, replaces: true) == first.sha256, "nothing stands for the old bytes now")
        #expect(try await store.images() == [second])
        let stood = try await store.perform {
            try $0.query("SELECT sha256 FROM image_names WHERE name = 'router' ORDER BY sequence").map {
                $0.optionalText("sha256")
            }
        }
        #expect(stood == [first.sha256.hexadecimal, second.sha256.hexadecimal], "what a name stood for stays known")
    }

    @Test("bytes may go when no name and no slot stands for them")
    func references() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let digest = try StoreBench.digest("a")
        let slot = try SlotName("slot1")
        #expect(try await !store.isReferenced(digest))
        try await store.addImage(StoreBench.image("router", "a"), replaces: false)
        try await store.addImage(StoreBench.image("alias", "a"), replaces: false)
        #expect(try await store.images().map(\.name.text) == ["alias", "router"])
        #expect(try await store.removeImage(named: ImageName("alias"), callerUserID: 0) == nil, "router has them too")

        let router = try StoreBench.assignment()
        try await store.saveConsent(slot: slot, isArmed: false, assignment: router, change: .disarm, callerUserID: 0)
        let said = await storeFailure { try await store.removeImage(named: router.image, callerUserID: 0) }
        #expect(said?.code == "image_assigned" && said?.message.contains("slot1") == true)
        // The name may stand for something else, the slot keeps what it has.
        #expect(try await store.addImage(StoreBench.image("router", "b"), replaces: true) == nil)
        #expect(try await store.isReferenced(digest))
        #expect(try await store.consent()[slot]?.assignment == router)

        try await store.saveConsent(slot: slot, isArmed: false, assignment: nil, change: .unassign, callerUserID: 0)
        #expect(try await !store.isReferenced(digest))
        #expect(try await store.removeImage(named: router.image, callerUserID: 0) == StoreBench.digest("b"))
        #expect(try await store.images().isEmpty)
    }

    @Test("a name that stands for nothing is told, with the nearest one")
    func unknownImage() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.addImage(StoreBench.image("grub-rescue-usb", "a"), replaces: false)
        let said = await storeFailure {
            try await store.removeImage(named: ImageName("grub-rescu-usb"), callerUserID: 0)
        }
        #expect(said?.code == "image_unknown" && said?.remedy.contains("grub-rescue-usb") == true)
        #expect(try await store.image(named: ImageName("other")) == nil)
    }
}
