import CLinux
import Glibc
package import StationCore

/// The directory of slot files, as root left it. Daemon, writer, udev helper and command line read it through here.
///
/// A slot file says what may be wiped, so one that anybody but its owner could have written is refused.
package enum SlotDirectory {
    /// Where it is when nobody says otherwise.
    package static let path = "/etc/flashing-station/slots.d"

    /// Reads all `NAME.slot` files. Blocks. A directory that is not there declares nothing.
    /// - Parameter ownerID: who must own directory and files; see `TrustedFiles`.
    /// - Returns: the declarations in the order of their names, and what is wrong: `slot_file_untrusted`,
    ///   `slot_file_unreadable`, `slot_name_invalid`, `slot_ambiguous` for each place declared twice (both declarations
    ///   are returned; one whose place stands in a file with an error, too, is not), `light_claimed_twice` likewise, and
    ///   the codes of `SlotDeclaration`.
    package static func load(
        _ directory: String = path, ownerID: UInt32? = 0
    ) -> (declarations: [SlotDeclaration], problems: [StationError]) {
        let names: [String]
        do {
            guard try isThereAndTrusted(directory, ownerID: ownerID) else { return ([], []) }
            names = Self.slotNames(try files(ownerID).names(in: directory))
        } catch {
            return ([], [error])
        }
        var declarations: [SlotDeclaration] = []
        var problems: [StationError] = []
        var brokenClaims: [(file: String, place: Place)] = []
        for name in names {
            do {
                let slot = try SlotName(name)
                guard let text = try text(of: slot, in: directory, ownerID: ownerID) else { continue }
                brokenClaims += SlotDeclaration.placesNamed(in: text).map { ("\(name).slot", $0) }
                declarations.append(
                    try SlotDeclaration(name: slot, fileName: filePath(slot, in: directory), text: text))
                brokenClaims.removeAll { $0.file == "\(name).slot" }
            } catch {
                problems.append(error)
            }
        }
        declarations.sort { $0.name < $1.name }
        // What a file with an error would declare is not known, but that it wants this place is.
        declarations.removeAll { slot in
            guard let claim = brokenClaims.first(where: { $0.place == slot.place }) else { return false }
            problems.append(
                StationError(
                    Reason.slotAmbiguous.rawValue,
                    "\(slot.name) and \(claim.file.printable(limit: 80)), which has an error, name the same place, \(slot.place)",
                    remedy: "mend or remove \(claim.file.printable(limit: 80))"))
            return true
        }
        for (index, slot) in declarations.enumerated() {
            guard let other = declarations[..<index].first(where: { $0.place == slot.place }) else { continue }
            problems.append(
                StationError(
                    Reason.slotAmbiguous.rawValue,
                    "\(other.name) and \(slot.name) declare the same place, \(slot.place)",
                    remedy: "sudo stationctl slot remove \(slot.name)"))
        }
        return (declarations, problems + SlotLights.problems(declarations))
    }

    /// Reads the file of one slot. Blocks.
    /// - Throws: `slot_unknown`, and the codes of the other `load`.
    package static func load(
        _ name: SlotName, in directory: String = path, ownerID: UInt32 = 0
    ) throws(StationError) -> SlotDeclaration {
        guard try isThereAndTrusted(directory, ownerID: ownerID),
            let text = try text(of: name, in: directory, ownerID: ownerID)
        else {
            throw StationError(
                Reason.slotUnknown.rawValue, "no slot “\(name)” is declared in \(directory.printable())",
                remedy: name.text.nearest(in: slotNames(SmallFile.names(in: directory) ?? [])).map {
                    "did you mean \($0)?"
                }
                    ?? "declare it: sudo stationctl slot learn \(name)")
        }
        return try SlotDeclaration(name: name, fileName: filePath(name, in: directory), text: text)
    }

    /// Writes the file of a slot in one step, readable by everybody. Blocks.
    /// - Throws: `slot_file_unwritable`, `slot_file_untrusted` for the directory.
    package static func save(
        _ slot: SlotDeclaration, in directory: String = path, ownerID: UInt32 = 0
    ) throws(StationError) {
        do {
            if try !isThereAndTrusted(directory, ownerID: ownerID) {
                _ = try retrying("mkdir", directory) { mkdir(directory, 0o755) }
                // The writer and udev's helper read it, whatever umask root has.
                _ = try retrying("chmod", directory) { chmod(directory, 0o755) }
            }
            try SmallFile.replace(filePath(slot.name, in: directory), with: slot.fileText, mode: 0o644)
        } catch let error as StationError {
            throw error
        } catch {
            throw StationError("slot_file_unwritable", "\(error)", remedy: "run it with sudo")
        }
    }

    /// Deletes the file of a slot.
    /// - Throws: `slot_unknown`, `slot_file_unwritable`.
    package static func remove(_ name: SlotName, in directory: String = path) throws(StationError) {
        let file = filePath(name, in: directory)
        guard unlink(file) != 0 else { return }
        if errno == ENOENT {
            throw StationError(Reason.slotUnknown.rawValue, "no slot “\(name)” is declared in \(directory.printable())")
        }
        throw SystemError("unlink", file).asStationError("slot_file_unwritable", remedy: "run it with sudo")
    }

    package static func filePath(_ name: SlotName, in directory: String = path) -> String {
        "\(directory)/\(name).slot"
    }

    private static func slotNames(_ fileNames: [String]) -> [String] {
        fileNames.filter { $0.hasSuffix(".slot") }.map { String($0.dropLast(5)) }
    }

    private static func files(_ ownerID: UInt32?) -> TrustedFiles {
        TrustedFiles(
            ownerID: ownerID, untrustedCode: Reason.slotFileUntrusted.rawValue, unreadableCode: "slot_file_unreadable",
            followsLinks: false)
    }

    private static func isThereAndTrusted(_ directory: String, ownerID: UInt32?) throws(StationError) -> Bool {
        try files(ownerID).hasDirectory(directory)
    }

    /// Nil when the file is not there.
    private static func text(
        of name: SlotName, in directory: String, ownerID: UInt32?
    ) throws(StationError) -> String? {
        try files(ownerID).text(of: filePath(name, in: directory), limit: KeyValueFile.byteLimit)
    }
}
