import StationCore
import StationTestSupport
import Testing

@Suite("Whether a device is a card")
struct EligibilityTests {
    private static func decide(
        _ record: DeviceRecord, slots: [SlotDeclaration]? = nil, others: [DeviceRecord] = []
    ) throws -> Eligibility {
        Eligibility.decide(record, slots: try slots ?? [Samples.slot()], devices: [record] + others)
    }

    @Test("is yes for a whole disk at a declared place in the declared reader")
    func card() throws {
        #expect(try Self.decide(Samples.card()) == .card(SlotName("slot1")))
    }

    @Test("is no without slots, without a place, for a partition, and for parts of a soldered chip")
    func notOurs() throws {
        #expect(try Self.decide(Samples.card(), slots: []) == .notOurs)
        #expect(try Self.decide(Samples.card(place: nil)) == .notOurs)
        var partition = Samples.card()
        partition.isWholeDisk = false
        #expect(try Self.decide(partition) == .notOurs)
        for name in ["mmcblk0boot0", "mmcblk0boot1", "mmcblk0gp3", "mmcblk2rpmb", "mmcblk0p1"] {
            #expect(
                try Self.decide(
                    Samples.card(name, place: Samples.mmcPlace), slots: [Samples.slot(place: Samples.mmcPlace)])
                    == .notOurs)
        }
    }

    @Test(
        "is no for any difference in the place",
        arguments: [
            Place.usb(controller: "pci0000:00/0000:00:05.0", hubSpeed: 480, ports: "2", lun: 0),
            .usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 5000, ports: "2", lun: 0),
            .usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 480, ports: "2.1", lun: 0),
            .usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 480, ports: "2", lun: 1), Samples.mmcPlace,
        ])
    func otherPlace(place: Place) throws {
        #expect(try Self.decide(Samples.card(place: place)) == .notOurs)
    }

    @Test(
        "is a refusal for another reader or another number of logical units",
        arguments: [
            Reader(vendor: "0bdb", product: "0326", lunCount: 1), Reader(vendor: "0bda", product: "0327", lunCount: 1),
            Reader(vendor: "0bda", product: "0326", lunCount: 2), .mmcHost, nil,
        ])
    func otherReader(reader: Reader?) throws {
        #expect(try Self.decide(Samples.card(reader: reader)) == .refused(SlotName("slot1"), .readerChanged))
    }

    @Test("is a refusal where two slots or two disks claim the place, whatever else is wrong")
    func ambiguous() throws {
        let slots = [try Samples.slot("a"), try Samples.slot("b")]
        #expect(try Self.decide(Samples.card(reader: nil), slots: slots) == .refused(SlotName("a"), .slotAmbiguous))
        let rival = Samples.card("sdb", sequence: 11)
        #expect(try Self.decide(Samples.card(), others: [rival]) == .refused(SlotName("slot1"), .slotAmbiguous))
        let part = Samples.card("mmcblk0boot0", sequence: 11)
        #expect(try Self.decide(Samples.card(), others: [part]) == .card(SlotName("slot1")))
        var partition = Samples.card("sda1")
        partition.isWholeDisk = false
        #expect(try Self.decide(Samples.card(), others: [partition]) == .card(SlotName("slot1")))
    }

    @Test("is an empty slot for the reader without a medium")
    func empty() throws {
        #expect(try Self.decide(Samples.card(sequence: nil, byteCount: 0)) == .emptySlot(SlotName("slot1")))
    }

    @Test("goes by the limits of the slot to the byte")
    func limits() throws {
        let slots = [try Samples.slot(minimum: 1000, maximum: 2000)]
        for (count, reason) in [
            (999 as UInt64, Reason.cardTooSmall as Reason?), (1000, nil), (2000, nil), (2001, .cardTooLarge),
        ] {
            let name = try SlotName("slot1")
            #expect(
                try Self.decide(Samples.card(byteCount: count), slots: slots)
                    == (reason.map { .refused(name, $0) } ?? .card(name)))
        }
    }

    @Test("is a refusal without a sequence number, for a soldered chip, and for a lock switch")
    func others() throws {
        #expect(try Self.decide(Samples.card(sequence: nil)) == .refused(SlotName("slot1"), .sequenceUnknown))
        var locked = Samples.card()
        locked.isReadOnly = true
        #expect(try Self.decide(locked) == .refused(SlotName("slot1"), .writeProtected))
        let slots = [try Samples.slot(place: Samples.mmcPlace, reader: .mmcHost)]
        var mmc = Samples.card("mmcblk0", place: Samples.mmcPlace, reader: .mmcHost)
        for (type, isTaken) in [("SD" as String?, true), ("MMC", false), (nil, false), ("sd", false)] {
            mmc.cardType = type
            let name = try SlotName("slot1")
            #expect(try Self.decide(mmc, slots: slots) == (isTaken ? .card(name) : .refused(name, .cardTypeNotAllowed)))
        }
    }

    @Test(
        "goes by the type of card that the slot takes, on every SD host",
        arguments: [Samples.mmcPlace, Samples.usbPlace],
        [
            (CardType.sd, ["SD"]), (.mmc, ["MMC"]), (.any, ["SD", "MMC"]),
        ])
    func cardTypes(place: Place, allowed: (CardType, [String])) throws {
        let reader = place == Samples.mmcPlace ? Reader.mmcHost : Samples.reader
        var slot = try Samples.slot(place: place, reader: reader)
        slot.cardType = allowed.0
        for type in ["SD", "MMC", "SDIO", "SDcombo", "sd", "any", "", nil] as [String?] {
            var card = Samples.card("mmcblk0", place: place, reader: reader)
            card.cardType = type
            let isTaken = allowed.1.contains(type ?? "none")
            #expect(
                try Self.decide(card, slots: [slot])
                    == (isTaken ? .card(slot.name) : .refused(slot.name, .cardTypeNotAllowed)))
        }
    }

    @Test("is no at the other speed class of the slot's port, and known for what it is")
    func otherSide() throws {
        let slot = try Samples.slot()
        let fast = Place.usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 5000, ports: "1", lun: 0)
        var card = Samples.card(place: fast)
        card.otherSide = slot.place
        #expect(try Self.decide(card) == .notOurs)
        #expect(Eligibility.isOtherSide(of: slot, card))
        card.reader?.lunCount = 4
        #expect(Eligibility.isOtherSide(of: slot, card), "logical units may still be appearing")
        card.reader?.product = "0327"
        #expect(!Eligibility.isOtherSide(of: slot, card), "somebody else's stick")
        card.reader = nil
        #expect(!Eligibility.isOtherSide(of: slot, card))
        card.reader = slot.reader
        card.isWholeDisk = false
        #expect(!Eligibility.isOtherSide(of: slot, card))
        #expect(!Eligibility.isOtherSide(of: slot, Samples.card()), "it is where it belongs")
    }
}
