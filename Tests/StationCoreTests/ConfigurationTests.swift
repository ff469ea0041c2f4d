import StationCore
import StationTestSupport
import Testing

@Suite("A file of keys and values")
struct KeyValueFileTests {
    private static func values(_ text: String) throws -> [String] {
        try KeyValueFile(name: "x.conf", text: text).entries.map { "\($0.line) [\($0.section)] \($0.key)=\($0.value)" }
    }

    @Test("has sections, comments, white space and continued lines")
    func syntax() throws {
        let text = """
            # a comment
            ; another one
            Before=1

            [ A ]
              Key = a value with = in it\u{20}
            Empty=
            Long=one \\
              two \\
            # in between
              three
            [B]
            Key=1
            Key=2
            """
        #expect(
            try Self.values(text) == [
                "3 [] Before=1", "6 [ A ] Key=a value with = in it", "7 [ A ] Empty=", "8 [ A ] Long=one  two  three",
                "13 [B] Key=1", "14 [B] Key=2",
            ])
    }

    @Test("may come from another system: its line ends count as line ends", arguments: ["\n", "\r\n"])
    func lineEnds(end: String) throws {
        let text = ["# a comment", "[Guard]", "ProtectedLabels=A \\", " B", "# more", "ProtectedLabels=C"].joined(
            separator: end)
        #expect(try Self.values(text) == ["3 [Guard] ProtectedLabels=A  B", "6 [Guard] ProtectedLabels=C"])
        var configuration = StationConfiguration()
        try configuration.apply(KeyValueFile(name: "x", text: text + end))
        #expect(configuration.protectedLabels == ["OURBOX_DATA", "A", "B", "C"])
    }

    @Test(
        "loses nothing when its last line is left open",
        arguments: ["Key=value \\", "Key=value\\\n", "Key=value \\\n\n"])
    func openEnd(text: String) throws {
        #expect(try Self.values(text) == ["1 [] Key=value"])
    }

    @Test(
        "names file and line of what is no assignment",
        arguments: [("x", 1), ("\n\n=1", 3), ("[A]\nKey", 2), ("[A\n", 1), ("A=1\n\u{1b}[2J", 2)])
    func syntaxError(text: String, line: Int) {
        let error = #expect(throws: StationError.self) { try KeyValueFile(name: "a.conf", text: text) }
        #expect(error?.code == "config_syntax")
        #expect(error?.message.hasPrefix("a.conf:\(line): ") == true)
        #expect(error?.message.contains("\u{1b}") == false)
    }

    @Test("is not read when it is huge")
    func huge() {
        #expect(throws: StationError.self) { try KeyValueFile(name: "a", text: String(repeating: "#", count: 65537)) }
    }

    @Test("is read from garbage without harm", arguments: 0..<20)
    func garbage(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        for _ in 0..<50 {
            let text = String(decoding: random.bytes(Int.random(in: 0...300, using: &random)), as: UTF8.self)
            _ = try? KeyValueFile(name: "x", text: text)
            _ = try? SlotDeclaration(name: SlotName("slot1"), fileName: "x", text: "[Slot]\n" + text)
        }
    }
}

@Suite("A slot file")
struct SlotDeclarationTests {
    private static let good = "[Slot]\nPlace=usb 480 port 2 lun 0 at pci0000:00/0000:00:04.0\nReader=0bda:0326 luns 1\n"

    private static func slot(_ text: String) throws -> SlotDeclaration {
        try SlotDeclaration(name: SlotName("slot1"), fileName: "/etc/slot1.slot", text: text)
    }

    @Test("needs a place and a reader and nothing else")
    func defaults() throws {
        let slot = try Self.slot(Self.good)
        #expect(slot.place == Samples.usbPlace && slot.reader == Samples.reader)
        #expect(slot.wipe == .signatures && slot.mode == .full && slot.atBoot == .wait && slot.cardType == .sd)
        #expect(slot.minimumByteCount == 256_000_000 && slot.maximumByteCount == 258_560_000_000)
    }

    @Test("cannot keep what is there and have it forgotten")
    func updateAndDiscard() throws {
        #expect(try Self.slot(Self.good + "Mode=update\nWipe=signatures\n").mode == .update)
        let error = #expect(throws: StationError.self) { try Self.slot(Self.good + "Mode=update\nWipe=discard\n") }
        #expect(error?.code == "slot_file_invalid" && error?.message.contains("Mode=update") == true)
    }

    @Test("says the same when it is written and read", arguments: WipeLevel.allCases, CardType.allCases)
    func roundTrip(wipe: WipeLevel, cardType: CardType) throws {
        for (minimum, maximum) in [
            (1 << 20 as UInt64, 1 << 50 as UInt64), (256_000_000, 258_560_000_000), (2 << 20, 2 << 20),
        ] {
            for place in [Samples.usbPlace, Samples.mmcPlace] {
                let reader = place == Samples.mmcPlace ? Reader.mmcHost : Samples.reader
                for atBoot in AtBoot.allCases {
                    var slot = try Samples.slot(
                        place: place, reader: reader, wipe: wipe, atBoot: atBoot, minimum: minimum, maximum: maximum)
                    slot.cardType = cardType
                    slot.mode = wipe == .zero ? .update : .full
                    #expect(try Self.slot(slot.fileText) == slot)
                }
            }
        }
    }

    @Test("takes sizes with suffixes")
    func sizes() throws {
        let slot = try Self.slot(Self.good + "MinimumSize=512M\nMaximumSize=32G\n")
        #expect(slot.minimumByteCount == 512 << 20 && slot.maximumByteCount == 32 << 30)
    }

    @Test(
        "names file, line and key of what it does not understand, with what is near",
        arguments: [
            ("Wipe=everything", "slot_file_invalid", "/etc/slot1.slot:4: Wipe=", "none, signatures, discard, zero"),
            ("CardType=sd", "slot_file_invalid", "/etc/slot1.slot:4: CardType=", "SD, MMC, any"),
            ("AtBoot=yes", "slot_file_invalid", "/etc/slot1.slot:4: AtBoot=", "wait, write"),
            ("MinimumSize=0", "slot_file_invalid", "/etc/slot1.slot:4: MinimumSize=", "256M"),
            ("MinimumSize=1023K", "slot_file_invalid", "/etc/slot1.slot:4: MinimumSize=", "256M"),
            ("MaximumSize=12Q", "slot_file_invalid", "/etc/slot1.slot:4: MaximumSize=", "256M"),
            ("MaximumSize=99999999T", "slot_file_invalid", "/etc/slot1.slot:4: MaximumSize=", "256M"),
            ("Wype=none", "config_key_unknown", "/etc/slot1.slot:4: Wype=", "did you mean Wipe=?"),
            ("Colour=red", "config_key_unknown", "/etc/slot1.slot:4: Colour=", "known are:"),
            ("Place=somewhere", "place_invalid", "/etc/slot1.slot:4: Place=", "usb SPEED port"),
            ("Reader=any", "reader_invalid", "/etc/slot1.slot:4: Reader=", "VENDOR:PRODUCT"),
            ("[Other]\nWipe=none", "slot_file_invalid", "/etc/slot1.slot:5: Wipe=", "[Slot]"),
            ("MinimumSize=2G\nMaximumSize=1G", "slot_file_invalid", "/etc/slot1.slot: MinimumSize=", ""),
            ("nonsense", "config_syntax", "/etc/slot1.slot:4: ", "Key=value"),
        ])
    func errors(line: String, code: String, message: String, remedy: String) {
        let error = #expect(throws: StationError.self) { try Self.slot(Self.good + line + "\n") }
        #expect(error?.code == code)
        #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "")")
        #expect(remedy.isEmpty || error?.remedy.contains(remedy) == true, "\(error?.remedy ?? "")")
    }

    @Test(
        "is refused without a word that a terminal would act on",
        arguments: ["[Other]\nWi\u{1B}[2Jpe=x", "Wi\u{1B}pe=x"])
    func unprintable(line: String) {
        let error = #expect(throws: StationError.self) { try Self.slot(Self.good + line + "\n") }
        #expect(error?.message.printable(limit: .max) == error?.message, "\(error?.message ?? "")")
    }

    @Test(
        "is refused without a place or a reader",
        arguments: ["", "[Slot]\n", "[Slot]\nReader=mmc\n", "[Slot]\nPlace=mmc at x\n"])
    func missing(text: String) {
        let error = #expect(throws: StationError.self) { try Self.slot(text) }
        #expect(error?.code == "slot_file_invalid")
        #expect(error?.remedy.contains("slot learn slot1") == true)
    }
}

@Suite("The configuration")
struct StationConfigurationTests {
    private static func applied(_ texts: String...) throws -> StationConfiguration {
        var configuration = StationConfiguration()
        for text in texts { try configuration.apply(KeyValueFile(name: "station.conf", text: text)) }
        return configuration
    }

    @Test("protects the station's own data whatever is written, and adds labels")
    func labels() throws {
        #expect(try Self.applied("").protectedLabels == ["OURBOX_DATA"])
        #expect(
            try Self.applied("[Guard]\nProtectedLabels=A B", "[Guard]\nProtectedLabels=\nProtectedLabels=B C")
                .protectedLabels
                == ["OURBOX_DATA", "A", "B", "C"])
    }

    @Test("takes labels with spaces between quotation marks, and says when one mark is alone")
    func quotedLabels() throws {
        #expect(
            try Self.applied("[Guard]\nProtectedLabels=\"MY DATA\" 'x y'  B").protectedLabels
                == ["OURBOX_DATA", "MY DATA", "x y", "B"])
        let error = #expect(throws: StationError.self) { try Self.applied("[Guard]\nProtectedLabels=\"MY DATA") }
        #expect(error?.code == "config_value" && error?.message.contains("station.conf:2") == true)
    }

    @Test("takes the last file's word")
    func order() throws {
        let configuration = try Self.applied(
            "[Station]\nStorageLimit=1G\nStuckAfterSec=20", "[Station]\nStorageLimit=2G")
        #expect(configuration.storageLimit == 2 << 30)
        #expect(configuration.stuckAfterSeconds == 20)
    }

    @Test(
        "names what it does not understand",
        arguments: [
            ("[Station]\nStorageLimit=lots", "config_value"), ("[Station]\nStorageLimit=0", "config_value"),
            ("[Station]\nStuckAfterSec=1", "config_value"), ("[Station]\nStuckAfterSec=nan", "config_value"),
            ("[Station]\nStuckAfterSec=4000", "config_value"), ("[Station]\nStorageLimits=1", "config_key_unknown"),
            ("[Guard]\nStorageLimit=1", "config_key_unknown"), ("ProtectedLabels=A", "config_key_unknown"),
        ])
    func errors(text: String, code: String) {
        let error = #expect(throws: StationError.self) { try Self.applied(text) }
        #expect(error?.code == code)
        #expect(error?.message.hasPrefix("station.conf:") == true)
    }
}

@Suite("What the configuration says of Image Builders and builds")
struct BuildConfigurationTests {
    private static func configuration(_ text: String) throws -> StationConfiguration {
        var configuration = StationConfiguration()
        try configuration.apply(KeyValueFile(name: "station.conf", text: text))
        return configuration
    }

    @Test("is read, and what it does not say is careful")
    func values() throws {
        let plain = try Self.configuration("")
        #expect(plain.builderSource.mirrors == ["https://downloads.openwrt.org"])
        #expect(plain.builderSource.signaturePolicy == .require && !plain.builderSource.isOffline)
        #expect(plain.parallelBuilds == 1 && plain.exportRoots.isEmpty && plain.buildLimits == BuildLimits())
        let text = """
            [ImageBuilder]
            Mirrors=http://a:8080/x https://b
            SignaturePolicy=warn
            Offline=yes
            Proxy=http://proxy:3128
            CertificateAuthority=/etc/ssl/own.pem
            Retries=0
            StallSec=7
            [Build]
            Network=offline
            TimeoutSec=60
            MemoryLimit=1G
            TasksMax=100
            DiskLimit=2G
            Parallel=3
            ExportRoots=/srv/a /srv/b
            """
        let full = try Self.configuration(text)
        #expect(full.builderSource.mirrors == ["http://a:8080/x", "https://b"])
        #expect(full.builderSource.signaturePolicy == .warn && full.builderSource.isOffline)
        #expect(full.builderSource.proxy == "http://proxy:3128" && full.builderSource.retryCount == 0)
        #expect(full.builderSource.certificateAuthority == "/etc/ssl/own.pem" && full.builderSource.stallSeconds == 7)
        #expect(!full.buildLimits.isOnline && full.buildLimits.seconds == 60 && full.buildLimits.processCount == 100)
        #expect(full.buildLimits.memoryByteCount == 1 << 30 && full.buildLimits.diskByteCount == 2 << 30)
        #expect(full.parallelBuilds == 3 && full.exportRoots == ["/srv/a", "/srv/b"])
    }

    @Test(
        "is refused with file and line where it makes no sense",
        arguments: [
            "[ImageBuilder]\nMirrors=", "[ImageBuilder]\nMirrors=ftp://a", "[ImageBuilder]\nMirrors=file:///etc",
            "[ImageBuilder]\nMirrors=https://", "[ImageBuilder]\nSignaturePolicy=maybe",
            "[ImageBuilder]\nOffline=perhaps",
            "[ImageBuilder]\nProxy=proxy", "[ImageBuilder]\nCertificateAuthority=own.pem", "[ImageBuilder]\nRetries=-1",
            "[ImageBuilder]\nStallSec=0", "[Build]\nNetwork=some", "[Build]\nTimeoutSec=1", "[Build]\nMemoryLimit=1",
            "[Build]\nTasksMax=x", "[Build]\nDiskLimit=-1G", "[Build]\nParallel=0", "[Build]\nExportRoots=srv",
            "[Build]\nExportRoots=/srv/$(id)", "[Build]\nMirrors=https://a", "[ImageBuilder]\nParallel=1",
        ])
    func refused(text: String) {
        let error = #expect(throws: StationError.self) { try Self.configuration(text) }
        #expect(error?.message.hasPrefix("station.conf:2: ") == true)
        #expect(["config_value", "config_key_unknown"].contains(error?.code ?? ""))
    }
}
