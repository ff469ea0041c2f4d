/// One line in the journal, with the fields by which a program finds it again.
///
/// Built from what happened, without I/O: the service sends it as it is. Everything that a device said of itself has been
/// made printable.
package struct JournalEntry: Equatable, Sendable {
    /// What happened. Each outcome has one constant MESSAGE_ID, which the journal's catalog explains.
    package enum Outcome: String, CaseIterable, Sendable {
        case stationStarted = "0b36197f5a154f37979bc8dd72392cf2"
        case stationStopping = "da4e2e293c294422a61e06771aaee70c"
        /// It was told to stop, and jobs run.
        case stationWaits = "b7b555429b2f461f85bc4cddfba2282c"
        case historyShortened = "dd5bb8cd9dde442a897d86375c954ad9"
        case jobBegan = "4fa3ad187c9b4b99bd5a94810e293730"
        case cardWaits = "0f4ae8e146eb4d0a9e6265e40d21a446"
        case cardRefused = "0bd7874e8abf4c6b88f02aa5ebfbf01e"
        case jobPassed = "9838f06f931a405cb6a0dc219b361a8e"
        case jobFailed = "1549cc21edf64472aefae13b8963ab36"
        case jobRefused = "4c5f944cd48948f68ee2abf1ba815f09"
        case jobCancelled = "db27d36fa895408797cf931d5ef78f61"
        case jobInterrupted = "462b4f7489684e5bb8e9ff92172d5692"
        /// The guard let a card through that nobody wanted written.
        case dryRunEnded = "5aee1d0104524e8e874e898512dcc36a"
        case jobStuck = "d7c47c2485f848b5bd14c7971fe28575"
        case slotAssigned = "c094c3f9ae214970bf2b72af225b68b2"
        case slotArmed = "d9f52bc2afa3494e83592531627d9b65"
        case slotDisarmed = "f3ada29b155f4851897d3c5149874226"
        case slotUnassigned = "1014cbf0ca174178b3e15364933daad3"
        case placeUndeclared = "a40b4cba8b2c4c59afa07daf11eea905"
        case readerAtOtherSpeed = "b2a96cf79dd14aa2bb6a1b1a27d2bd26"
        case slotFileProblem = "d0363e7ab1284d51a473231e60b23e3a"
        case imageImported = "e488dca5202144a9a34d0642c179ef09"
        case imageRemoved = "f4dec4ed4dc143d2b5ab7134e387ed2c"
        case monitorRestored = "1fe3679e8a8d4d9885bc10d6c2b53b15"
        case devicesUnseen = "b6320c2475c8420288f5ee19adc9c7f4"
        case lightProblem = "95a9c95cebb6481fb2b81b77e728f301"
        case slotDisarmedByFailures = "2171d2b862014e70903afdeb657bda8c"
        case cardSuspect = "b0f0e77b3a23461a8c06bd4873b8d172"
        case cardForgiven = "3efdb772b4cf4169bb90b12b56709625"
        case slotFailing = "5bcc2dc5e0284fb181073c304d6c0ab8"
        case slotSlow = "c67645b125ca4cdeb1216156f72200d3"
        case cardSlow = "71ba48da8b9949bb97ba94c644337209"
        case storeProblem = "7b0de9f1c3a84d06a8f7f0d1c5a9e264"
        case builderReady = "0ee0c3268a4e402b8b455960e47577cb"
        case builderFailed = "e92e5ca69281449d901c505f0e89f1cc"
        /// It is used all the same, as the configuration wants.
        case builderDoubtful = "77eefd4779a6484c83b21adeff653a6a"
        case buildSucceeded = "361a88875e3c437a96828f420c1d6849"
        case buildFailed = "2f7c00e5fb5c4606a6cbd68d83a8a19a"
        case buildReused = "1fa0533bfd4b436e96a8eeb477cefc9d"
        case slotPreparing = "6803ad60fe5e4da189501c395e34ba23"
        case backupMade = "c7c668cc98c7435cba467ab38ad5c779"
        case stationRestored = "f1c9b8b591024a9b971d0f712b7a2f24"

        /// 32 hexadecimal digits, the same for ever.
        package var messageID: String { rawValue }
    }

    /// The fields of ours. Only what is known is there.
    package enum Field: String, CaseIterable, Sendable {
        case slot = "STATION_SLOT"
        case job = "STATION_JOB"
        case run = "STATION_RUN"
        case profile = "STATION_PROFILE"
        case build = "STATION_BUILD"
        /// An Image Builder: release, target and subtarget.
        case builder = "STATION_BUILDER"
        case image = "STATION_IMAGE"
        case imageSHA256 = "STATION_IMAGE_SHA256"
        case cardID = "STATION_CARD_CID"
        case cardByteCount = "STATION_CARD_BYTES"
        /// By what the station knows the card again.
        case card = "STATION_CARD"
        case device = "STATION_DEVICE"
        case bytesWritten = "STATION_BYTES_WRITTEN"
        case bytesUnchanged = "STATION_BYTES_UNCHANGED"
        case writeSeconds = "STATION_WRITE_SECONDS"
        case verifySeconds = "STATION_VERIFY_SECONDS"
        case badOffset = "STATION_BAD_OFFSET"
        case badBlocks = "STATION_BAD_BLOCKS"
        case verdict = "STATION_VERDICT"
        /// A reason's stable code, or that of an error.
        case reason = "STATION_REASON"
        /// What to do about it.
        case remedy = "STATION_REMEDY"
        case callerUserID = "STATION_CALLER_UID"
    }

    /// The priorities of syslog that are used here.
    package enum Priority: Int, Sendable {
        case error = 3
        case warning, notice, information
    }

    package var outcome: Outcome
    package var priority: Int
    /// One line for a person.
    package var message: String
    /// By name, without MESSAGE, MESSAGE_ID and PRIORITY.
    package var fields: [String: String]

    package var messageID: String { outcome.messageID }

    /// All fields as `NAME=value`, in a fixed order: what `sd_journal_sendv` takes.
    package var assignments: [String] {
        ["MESSAGE=\(message)", "MESSAGE_ID=\(messageID)", "PRIORITY=\(priority)"]
            + fields.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    }

    init(_ outcome: Outcome, _ priority: Priority, _ message: String, _ fields: [Field: String?] = [:]) {
        self.outcome = outcome
        self.priority = priority.rawValue
        self.message = message.printable(limit: 1000)
        self.fields = [:]
        for case (let field, let value?) in fields where !value.isEmpty {
            self.fields[field.rawValue] = value.printable(limit: 1000)
        }
    }
}

// MARK: The station

extension JournalEntry {
    package static func stationStarted(version: String, slotCount: Int) -> JournalEntry {
        JournalEntry(
            .stationStarted, .information,
            "Flashing station \(version) is watching \(Quantity.counted(slotCount, "slot")).")
    }

    package static func stationStopping(runningJobCount: Int) -> JournalEntry {
        runningJobCount == 0
            ? JournalEntry(.stationStopping, .information, "Flashing station is stopping; no job was running.")
            : JournalEntry(
                .stationStopping, .warning,
                "Flashing station is stopping; \(Quantity.counted(runningJobCount, "job")) will be interrupted.")
    }

    package static func stationWaits(_ slots: [SlotName], atMostSeconds: Double) -> JournalEntry {
        JournalEntry(
            .stationWaits, .notice,
            """
            Flashing station stops when \(slots.map(\.text).joined(separator: ", ")) \(slots.count == 1 ? "has" : "have") \
            ended, in \(Int(atMostSeconds.rounded(.up))) s at the latest; nothing is begun any more.
            """)
    }

    /// Old jobs are no longer on record.
    package static func historyShortened(jobCount: Int, days: Int) -> JournalEntry {
        JournalEntry(
            .historyShortened, .information,
            "History: \(jobCount) job\(jobCount == 1 ? "" : "s") older than \(days) days forgotten (HistoryDays=\(days))"
        )
    }

    /// A card came into a place that no slot file names.
    package static func placeUndeclared(_ device: DeviceRecord) -> JournalEntry {
        let command = "sudo stationctl slot learn NAME --device \(device.name.printable(limit: 40))"
        return JournalEntry(
            .placeUndeclared, .notice,
            "\(card(device)) is in a place that no slot declares, and is left alone; to make it a slot: \(command)",
            [
                .device: device.name, .cardID: device.cardID, .cardByteCount: String(device.byteCount),
                .remedy: command,
            ])
    }

    /// A slot's reader came up on the side of its port that is of another speed class.
    package static func readerAtOtherSpeed(_ slot: SlotDeclaration, _ device: DeviceRecord) -> JournalEntry {
        let remedy = Explanation.otherSideRemedy(slot)
        return JournalEntry(
            .readerAtOtherSpeed, .warning,
            "\(slot.name): \(Explanation.otherSideFinding(slot, device)); \(remedy)",
            [.slot: slot.name.text, .device: device.name, .remedy: remedy])
    }

    /// A slot file that was refused.
    /// - Parameter fileName: such as `slot1.slot`; where it is the directory's, the error names the file.
    package static func slotFileProblem(fileName: String, _ error: StationError) -> JournalEntry {
        let name = fileName.split(separator: "/").last.map(String.init) ?? fileName
        let isFile = name.hasSuffix(".slot")
        let slot = isFile ? try? SlotName(String(name.dropLast(5))) : nil
        return JournalEntry(
            .slotFileProblem, .error, "\(isFile ? "The slot file \(fileName)" : "A slot file") is not used: \(error)",
            [.slot: slot?.text, .reason: error.code, .remedy: error.remedy])
    }

    /// The station's records could not be read or written as they should.
    package static func storeProblem(_ error: StationError) -> JournalEntry {
        JournalEntry(
            .storeProblem, .error, "The station's records have a problem: \(error)",
            [.reason: error.code, .remedy: error.remedy])
    }

    /// A light cannot be driven, or two slots claim it. It is said once, until the light has worked again.
    package static func lightProblem(_ error: StationError) -> JournalEntry {
        JournalEntry(
            .lightProblem, .warning, "A light shows nothing: \(error)", [.reason: error.code, .remedy: error.remedy])
    }

    /// Events of devices were lost, or udev was started anew, and everything has been looked at again.
    package static func monitorRestored(cause: String, deviceCount: Int) -> JournalEntry {
        JournalEntry(
            .monitorRestored, .warning,
            "Device events were lost (\(cause)); looked at \(Quantity.counted(deviceCount, "block device")) again.")
    }

    /// Something happened to a device, and the station cannot look.
    package static func devicesUnseen() -> JournalEntry {
        let remedy = "systemctl show stationd.service --property=LimitNOFILE"
        return JournalEntry(
            .devicesUnseen, .error,
            "No file descriptor is to be had, so devices cannot be looked at; it is tried until they can; \(remedy)",
            [.remedy: remedy])
    }
}
