import StationCore
import StationLinux

/// `slot identify`: shows a person which slot is meant.
enum SlotIdentifyCommand {
    static let all = [
        Command(
            "slot identify", operands: "SLOT", count: 1...1,
            summary: "Lets a slot's light blink fast, to find the slot",
            details:
                "Five times a second, which means nothing else; two lights blink in turns. Then they say\nagain what there is to say. A job that runs goes on.",
            options: [.init("--seconds", value: "N", "for so long: 1 to 600 (10)")],
            examples: ["stationctl slot identify slot1", "stationctl slot identify slot1 --seconds 60"], run: run)
    ]

    private static func run(_ context: Context) throws -> ExitCode {
        var seconds: Int?
        if let text = context.arguments.value("--seconds") {
            guard let number = Int(text), Control.Identify.limits.contains(number) else {
                throw context.syntax.usage("--seconds cannot be “\(text.printable(limit: 20))”", remedy: "1 to 600")
            }
            seconds = number
        }
        let parameters = Control.Identify(slot: context.operands[0], seconds: seconds)
        let reply = try context.connect().call(.identify, parameters, as: Control.Identified.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        let lights = reply.lights.map { $0.description.printable(limit: 100) }.joined(separator: " and ")
        let slot = context.operands[0].printable(limit: 40)
        context.console.line("\(slot): blinking fast for \(seconds ?? 10) s: \(lights)")
        return .success
    }
}
