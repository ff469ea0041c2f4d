import CLinux
import Glibc
package import StationCore

/// Where the kernel shows LEDs and GPIO lines, and how it is talked to there.
package struct LightTree: Sendable {
    /// The directory that has `leds` and `gpio`.
    package let root: String

    /// - Parameter root: another one than sysfs has is for tests.
    package init(root: String = "/sys/class") { self.root = root }

    package var ledsDirectory: String { "\(root)/leds" }
    package var linesDirectory: String { "\(root)/gpio" }

    /// An attribute of an LED.
    package func path(led name: String, _ attribute: String) -> String { "\(ledsDirectory)/\(name)/\(attribute)" }

    /// An attribute of an exported line.
    package func path(line number: Int, _ attribute: String) -> String {
        "\(linesDirectory)/gpio\(number)/\(attribute)"
    }

    /// The number that a line has in this boot. Blocks.
    /// - Throws: `light_missing` when no chip has the label, or no line the offset; `light_ambiguous` when two chips have it.
    package func lineNumber(chip: String, offset: Int) throws(StationError) -> Int {
        let chips = (SmallFile.names(in: linesDirectory) ?? []).filter { name in
            name.hasPrefix("gpiochip") && SmallFile.attribute("\(linesDirectory)/\(name)/label") == chip
        }
        guard let name = chips.first else {
            throw StationError(
                "light_missing", "there is no GPIO chip labelled \(chip)",
                remedy: "see cat \(linesDirectory)/gpiochip*/label; is it plugged in?")
        }
        guard chips.count == 1 else {
            throw StationError(
                "light_ambiguous", "\(chips.count) GPIO chips are labelled \(chip)",
                remedy: "unplug the others: which one is meant cannot be told")
        }
        let directory = "\(linesDirectory)/\(name)"
        guard let base = SmallFile.attribute("\(directory)/base").flatMap({ Int($0) }), base >= 0,
            let count = SmallFile.attribute("\(directory)/ngpio").flatMap({ Int($0) }), offset < count
        else {
            throw StationError("light_missing", "the GPIO chip \(chip) has no line \(offset)")
        }
        return base + offset
    }

    /// Writes an attribute in one call, which is how the kernel takes it. Blocks for as long as the device takes.
    package static func write(_ text: String, to path: String) throws(SystemError) {
        let file = try Descriptor(opening: path, O_WRONLY | O_TRUNC | O_NONBLOCK)
        do {
            try Array(text.utf8).withUnsafeBytes { try file.write(all: $0) }
        } catch let error as SystemError {
            throw SystemError("write", path, number: error.number)
        } catch { throw SystemError("write", path, number: EIO) }
    }

    // MARK: What belongs to the station

    /// The LEDs whose brightness belongs to a user: those that root gave to the station.
    package func leds(ownedBy userID: UInt32) -> [String] {
        (SmallFile.names(in: ledsDirectory) ?? []).filter { isOwned(path(led: $0, "brightness"), by: userID) }
    }

    /// The exported lines whose value belongs to a user.
    package func lines(ownedBy userID: UInt32) -> [Int] {
        (SmallFile.names(in: linesDirectory) ?? []).compactMap { name in
            guard name.hasPrefix("gpio"), let number = Int(name.dropFirst(4)) else { return nil }
            return isOwned(path(line: number, "value"), by: userID) ? number : nil
        }
    }

    /// Turns off all lights that belong to a user. Needs no privilege beyond being that user, no daemon and no slot file.
    /// - Returns: what could not be turned off.
    package func darken(ownedBy userID: UInt32) -> [SystemError] {
        let paths =
            leds(ownedBy: userID).map { path(led: $0, "brightness") }
            + lines(ownedBy: userID).map { path(line: $0, "value") }
        return paths.compactMap { path in
            do throws(SystemError) {
                try Self.write("0", to: path)
                return nil
            } catch { return error }
        }
    }

    private func isOwned(_ path: String, by userID: UInt32) -> Bool {
        (try? FileStatus(of: path))?.ownerID == userID
    }
}
