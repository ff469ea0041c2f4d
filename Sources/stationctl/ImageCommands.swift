import StationCore
import StationLinux

/// `image list|show|verify|remove`: the library.
enum ImageCommands {
    static let all = [
        ImageImportCommand.command,
        Command(
            "image list", summary: "Lists the images of the library", examples: ["stationctl image list --json"],
            exits: Command.readingExits, run: list),
        Command(
            "image show", operands: "NAME", count: 1...1,
            summary: "Shows one image: bytes, origin, who vouches",
            examples: ["stationctl image show openwrt"], exits: Command.readingExits, run: show),
        Command(
            "image verify", operands: "[NAME]", count: 0...1,
            summary: "Reads images again and compares them",
            details: "Without NAME: all of them. A card is never passed by a damaged image, verified or not.",
            examples: ["stationctl image verify", "stationctl image verify openwrt"], run: verify),
        Command(
            "image remove", operands: "NAME", count: 1...1, summary: "Takes an image out of the library",
            examples: ["stationctl image remove openwrt"], run: remove),
    ]

    private static func list(_ context: Context) throws -> ExitCode {
        let reply = try context.connect().call(.listImages, as: Control.Images.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        guard !reply.images.isEmpty else {
            context.console.line("the library is empty: stationctl image import FILE")
            return .success
        }
        var table = Table(headings: ["NAME", "SIZE", "IMPORTED", "BY", "SHA256"])
        for image in reply.images {
            table.rows.append([
                .init(image.name.text), .init(Quantity.bytes(image.byteCount)),
                .init(String(LocalTime.text(image.importedAt).dropLast(3))), .init(user(image.importedByUserID)),
                .init(image.sha256.short),
            ])
        }
        let width = context.console.isTerminal ? context.console.size.columns : nil
        for line in table.lines(on: context.console, width: width) { context.console.line(line) }
        return .success
    }

    private static func show(_ context: Context) throws -> ExitCode {
        let image = try find(context.operands[0], context.connect())
        if context.isJSON { context.console.json(image) } else { show(image, context.console) }
        return .success
    }

    static func show(_ image: ImageRecord, _ console: Console) {
        console.line("image     \(image.name)")
        console.line("size      \(Quantity.bytes(image.byteCount)) (\(image.byteCount) bytes)")
        console.line("sha256    \(image.sha256)")
        let origin = image.origin
        let file = origin.fileName?.printable(limit: 200) ?? "standard input, or a name that is not known"
        console.line("file      \(file), \(origin.container.printable(limit: 80))")
        console.line("vouched   \(vouched(origin))")
        console.line("imported  \(LocalTime.text(image.importedAt)) by \(user(image.importedByUserID))")
    }

    /// By whom the bytes are vouched for, in words.
    private static func vouched(_ origin: ImageOrigin) -> String {
        let vouching = origin.vouching
        let subject = vouching.subject == .file ? "the file" : "the image"
        return switch vouching.kind {
        case .signature: "by the signature of the key \((vouching.key ?? "?").printable(limit: 64))"
        case .sha256: "by a SHA-256 of \(subject)"
        case .bmap: "by the checksums of a bmap file"
        case .none where origin.isChecked: "by nobody; the checksum in the file is right"
        case .none: "by nobody, and the file has no checksum in it: damage on the way to here would not show"
        }
    }

    // MARK: Verification

    /// What `image verify --json` says of one image.
    private struct Verification: Encodable {
        var name: ImageName
        var sha256: SHA256Digest
        var isIntact: Bool
        var problem: StationError?
    }

    private struct Verifications: Encodable { var images: [Verification] }

    private static func verify(_ context: Context) throws -> ExitCode {
        let client = try context.connect()
        let images =
            try context.operands.isEmpty
            ? client.call(.listImages, as: Control.Images.self).images : [find(context.operands[0], client)]
        var found: [Verification] = []
        for image in images {
            var result = Verification(name: image.name, sha256: image.sha256, isIntact: true)
            let line = ProgressLine(context)
            do {
                try client.callMore(
                    .verifyImage, Control.ImageQuery(name: image.name.text), as: Control.ImportProgress.self
                ) { progress in
                    line.show(progress)
                    return progress.image == nil
                }
            } catch {
                guard ["image_damaged", "image_missing"].contains(error.code) else {
                    line.clear()
                    throw error
                }
                (result.isIntact, result.problem) = (false, error)
            }
            line.clear()
            found.append(result)
            if !context.isJSON {
                context.console.line(
                    "\(image.name): " + (result.problem.map { $0.description.printable(limit: 2000) } ?? "intact"))
            }
        }
        if context.isJSON { context.console.json(Verifications(images: found)) }
        return found.allSatisfy(\.isIntact) ? .success : .failure
    }

    private static func find(_ name: String, _ client: ControlClient) throws(StationError) -> ImageRecord {
        let images = try client.call(.listImages, as: Control.Images.self).images
        if let image = images.first(where: { $0.name.text == name }) { return image }
        throw StationError(
            "image_unknown", "there is no image “\(name.printable(limit: 60))”",
            remedy: name.nearest(in: images.map(\.name.text)).map { "did you mean \($0)?" }
                ?? "see stationctl image list")
    }

    private static func remove(_ context: Context) throws -> ExitCode {
        let name = context.operands[0]
        _ = try context.connect().call(.removeImage, Control.ImageQuery(name: name), as: Control.Empty.self)
        if context.isJSON {
            context.console.json(Control.Empty())
        } else {
            context.console.line("\(name.printable(limit: 128)) is removed")
        }
        return .success
    }

    private static func user(_ userID: UInt32) -> String { UserDatabase.userName(userID) ?? "uid \(userID)" }
}
