import Glibc
package import StationCore

/// What root does so that an unprivileged daemon can drive the lights that slot files name, and no others.
///
/// The attributes are given to the user `station` and not to its group: that group is of people who may read the status,
/// and nobody but the daemon may say by a light that a card has passed.
package struct LightAccess: Sendable {
    /// Whose daemon it is.
    package static let userName = "station"

    /// The attributes of an LED that the daemon writes. The last is there while the LED has that trigger.
    private static let attributes = ["brightness", "trigger", "pattern"]

    private let tree: LightTree
    private let userID: UInt32

    package init(tree: LightTree, userID: UInt32) {
        self.tree = tree
        self.userID = userID
    }

    /// Gives an LED to the daemon if a slot names it; does nothing otherwise.
    package func grant(led name: String, slots: [SlotDeclaration]) -> [StationError] {
        guard slots.contains(where: { $0.lights.all.contains(.led(name)) }) else { return [] }
        return Self.attributes.compactMap { attribute in
            give(tree.path(led: name, attribute), isOptional: true)
        }
    }

    /// Brings what belongs to the daemon to what slot files name: gives it LEDs, exports lines and gives it those, and takes
    /// back, dark, what is named no more. Can be done again at any time; a light that is lit stays so.
    /// - Returns: what could not be done, one for each light.
    package func prepare(_ slots: [SlotDeclaration]) -> [StationError] {
        var problems: [StationError] = []
        var lines: Set<Int> = []
        let lights = Set(slots.flatMap(\.lights.all))
        for light in lights.sorted(by: { $0.description < $1.description }) {
            switch light {
            case .led(let name): problems += grant(led: name, slots: slots)
            case .gpio(let chip, let offset, let isActiveLow):
                do throws(StationError) {
                    let number = try tree.lineNumber(chip: chip, offset: offset)
                    lines.insert(number)
                    try export(number, isActiveLow: isActiveLow, light)
                } catch { problems.append(error) }
            }
        }
        for name in tree.leds(ownedBy: userID) where !lights.contains(.led(name)) {
            try? LightTree.write("0", to: tree.path(led: name, "brightness"))
            for attribute in Self.attributes { lchown(tree.path(led: name, attribute), 0, gid_t.max) }
        }
        for number in tree.lines(ownedBy: userID) where !lines.contains(number) {
            try? LightTree.write("0", to: tree.path(line: number, "value"))
            try? LightTree.write("\(number)", to: "\(tree.linesDirectory)/unexport")
        }
        return problems
    }

    /// Makes a line an output, dark, that the daemon may set.
    private func export(_ number: Int, isActiveLow: Bool, _ light: Light) throws(StationError) {
        let value = tree.path(line: number, "value")
        do throws(SystemError) {
            if (try? FileStatus(of: value)) == nil {
                try LightTree.write("\(number)", to: "\(tree.linesDirectory)/export")
            }
            let activeLow = tree.path(line: number, "active_low")
            let direction = tree.path(line: number, "direction")
            let isReady =
                SmallFile.attribute(activeLow) == (isActiveLow ? "1" : "0") && SmallFile.attribute(direction) == "out"
            if !isReady {
                try LightTree.write(isActiveLow ? "1" : "0", to: activeLow)
                // These words set the level on the wire, whatever active_low says: an output that begins dark.
                try LightTree.write(isActiveLow ? "high" : "low", to: direction)
            }
        } catch {
            throw StationError(
                "light_unusable", "\(light) cannot be made an output: \(error)",
                remedy: error.number == EBUSY ? "another driver has this line; see /sys/kernel/debug/gpio" : "")
        }
        if let problem = give(value, isOptional: false) { throw problem }
    }

    private func give(_ path: String, isOptional: Bool) -> StationError? {
        guard lchown(path, userID, gid_t.max) != 0, !(isOptional && errno == ENOENT) else { return nil }
        return SystemError("chown", path).asStationError("light_unusable")
    }
}
