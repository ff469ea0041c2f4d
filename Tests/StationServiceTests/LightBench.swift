import Foundation
import StationCore
import StationLinux
import StationService
import Synchronization
import Testing

/// A tree of LEDs and GPIO lines in files, and a room that drives them.
final class LightBench: Sendable {
    let directory: String
    let tree: LightTree
    let room: LightRoom
    private let told = Told()

    /// What the room told of problems, in order; nil for one that is over.
    var problems: [StationError?] { told.problems.withLock { $0 } }

    private final class Told: Sendable {
        let problems = Mutex<[StationError?]>([])
    }

    init(patience: Double = 60) throws {
        directory = NSTemporaryDirectory() + "lights-\(UUID().uuidString.prefix(8))"
        tree = LightTree(root: directory)
        let told = told
        room = LightRoom(tree: tree, patience: patience) { problem in told.problems.withLock { $0.append(problem) } }
        for name in ["leds", "gpio"] {
            try FileManager.default.createDirectory(
                atPath: "\(directory)/\(name)", withIntermediateDirectories: true)
        }
    }

    func end() async {
        await room.end()
        try? FileManager.default.removeItem(atPath: directory)
    }

    private func put(_ text: String, _ path: String) throws {
        try text.write(toFile: "\(directory)/\(path)", atomically: false, encoding: .utf8)
    }

    func led(_ name: String, triggers: String = "[none] mmc0", most: Int = 1, lit: Bool = false) throws {
        try FileManager.default.createDirectory(
            atPath: "\(directory)/leds/\(name)", withIntermediateDirectories: true)
        try put(lit ? "\(most)" : "0", "leds/\(name)/brightness")
        try put("\(most)\n", "leds/\(name)/max_brightness")
        try put("\(triggers)\n", "leds/\(name)/trigger")
    }

    /// The attribute that comes with the trigger, as if udev had been there.
    func givePattern(_ name: String) throws { try put("", "leds/\(name)/pattern") }

    func unplug(_ name: String) throws { try FileManager.default.removeItem(atPath: "\(directory)/leds/\(name)") }

    func chip(_ name: String, label: String, base: Int, count: Int = 8) throws {
        try FileManager.default.createDirectory(
            atPath: "\(directory)/gpio/\(name)", withIntermediateDirectories: true)
        for (attribute, text) in [("label", label), ("base", "\(base)"), ("ngpio", "\(count)")] {
            try put("\(text)\n", "gpio/\(name)/\(attribute)")
        }
    }

    /// A line as root has exported it.
    func line(_ number: Int) throws {
        try FileManager.default.createDirectory(
            atPath: "\(directory)/gpio/gpio\(number)", withIntermediateDirectories: true)
        for (attribute, text) in [("value", "0"), ("direction", "in"), ("active_low", "0")] {
            try put(text, "gpio/gpio\(number)/\(attribute)")
        }
        for attribute in ["export", "unexport"] { try put("", "gpio/\(attribute)") }
    }

    func read(_ path: String) -> String { SmallFile.attribute("\(directory)/\(path)") ?? "" }

    /// Waits until a file says so.
    func says(_ path: String, _ text: String) async -> Bool { await eventually { self.read(path) == text } }

    /// Shows one slot for each pair of lights and signal.
    func show(_ slots: (SlotLights, StationCore.Signal)...) throws {
        room.show(
            slots.enumerated().map { index, slot in
                var status = SlotStatus(Sample.machine("slot\(index + 1)", nil))
                (status.lights, status.signal) = slot
                return status
            })
    }
}
