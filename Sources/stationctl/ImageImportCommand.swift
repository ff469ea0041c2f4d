import Glibc
import StationCore
import StationLinux

/// `image import`: an image file, and what comes beside it, opened by the user and handed over open.
enum ImageImportCommand {
    static let command = Command(
        "image import", operands: "FILE|-", count: 1...1, summary: "Puts an image into the library",
        details: """
            The image may be packed with gzip, xz, zstd, bzip2, lz4, zip or tar; its bytes tell, its name does
            not. Files are opened by you, and the station gets the open files; - reads standard input.
            """,
        options: [
            .init("--name", value: "NAME", "what to call it; else the file's name without .img, .gz and the like"),
            .init("--member", value: "PATH", "which file of an archive is the image"),
            .init("--sha256", value: "HEX", "fail unless the file, or what it unpacks to, has this SHA-256"),
            .init("--sums", value: "FILE", "fail unless FILE, such as OpenWrt's sha256sums, lists the file's SHA-256"),
            .init(
                "--signature", value: "FILE", "fail unless FILE (usign, signify or GnuPG) signs the sums, or the file"),
            .init("--bmap", value: "FILE", "compare with FILE's checksums; FILE.bmap beside the image is found"),
            .init("--no-bmap", "use no bmap file"),
            .init("--raw", "take bytes that begin with neither MBR nor GPT"),
            .init("--replace", "let an existing name stand for the new bytes; assignments keep the old"),
        ],
        examples: [
            "stationctl image import openwrt.img.gz",
            "stationctl image import openwrt.img.gz --sums sha256sums --signature sha256sums.sig",
            "stationctl image import boards.zip --member images/router.img",
            "curl -s URL | stationctl image import - --name openwrt --sha256 HEX",
        ], run: run)

    private static func run(_ context: Context) throws -> ExitCode {
        let path = context.operands[0]
        guard !path.isEmpty else { throw context.syntax.usage("the file's name is empty") }
        var files = [try open(path, context)]
        var sha256: String?
        if let text = context.arguments.value("--sha256") {
            guard let digest = SHA256Digest(text.lowercased()) else {
                throw context.syntax.usage("--sha256 takes 64 hexadecimal digits")
            }
            sha256 = digest.hexadecimal
        }
        guard let name = context.arguments.value("--name") ?? ImageFileName.imageName(path) else {
            throw context.syntax.usage(
                "--name NAME is missing", remedy: "standard input has no name: --name openwrt, for example")
        }
        var parameters = Control.ImportImage(
            name: try ImageName(name).text, sha256: sha256, isRaw: context.arguments.has("--raw"),
            replaces: context.arguments.has("--replace"), fileName: ImageFileName.last(path),
            member: context.arguments.value("--member"))
        for (companion, companionPath) in try companions(of: path, context) {
            files.append(try open(companionPath, context))
            parameters.companions.append(companion)
        }
        var image: ImageRecord?
        let line = ProgressLine(context)
        do {
            try context.connect().callMore(
                .importImage, parameters, descriptors: files, as: Control.ImportProgress.self
            ) { progress in
                image = progress.image
                line.show(progress)
                return image == nil
            }
        } catch {
            line.clear()
            guard error.code.hasPrefix("image_"), path != "-", !error.message.contains(path) else { throw error }
            throw StationError(error.code, "\(path.printable()): \(error.message)", remedy: error.remedy)
        }
        line.clear()
        guard let image else { throw StationError("protocol_error", "the import ended without an image") }
        if context.isJSON {
            context.console.json(image)
        } else {
            ImageCommands.show(image, context.console)
            context.console.line("next: stationctl assign SLOT --image \(image.name)")
        }
        return .success
    }

    /// What is handed over beside the image.
    private static func companions(
        of path: String, _ context: Context
    ) throws(StationError) -> [(ImportCompanion, String)] {
        var result: [(ImportCompanion, String)] = []
        if let bmap = context.arguments.value("--bmap") {
            guard !context.arguments.has("--no-bmap") else {
                throw context.syntax.usage("--bmap and --no-bmap exclude each other")
            }
            result.append((.bmap, bmap))
        } else if !context.arguments.has("--no-bmap"),
            let bmap = ImageFileName.bmapPaths(path).first(where: { access($0, F_OK) == 0 })
        {
            if !context.isJSON { context.console.line("with \(bmap.printable())") }
            result.append((.bmap, bmap))
        }
        if let sums = context.arguments.value("--sums") { result.append((.sums, sums)) }
        if let signature = context.arguments.value("--signature") { result.append((.signature, signature)) }
        return result
    }

    private static func open(_ path: String, _ context: Context) throws(StationError) -> Descriptor {
        do {
            if path == "-" {
                guard isatty(0) == 0 else {
                    throw context.syntax.usage(
                        "standard input is a terminal",
                        remedy: "curl -s URL | stationctl image import - --name openwrt")
                }
                return Descriptor(owning: try retrying("dup", "standard input") { dup(0) })
            }
            let file = try Descriptor(opening: path, O_RDONLY)
            if try file.status().kind == .directory {
                throw StationError(
                    "file_unreadable", "\(path.printable()) is a directory", remedy: "name a file in it")
            }
            return file
        } catch let error as StationError {
            throw error
        } catch let error as SystemError {
            throw StationError(
                error.number == ENOENT ? "file_unknown" : "file_unreadable",
                "\(path.printable()): \(SystemError.text(error.number))")
        } catch { throw StationError("file_unreadable", "\(error)") }
    }
}

/// What the names of image files tell.
enum ImageFileName {
    private static let packings = [".gz", ".xz", ".zst", ".bz2", ".lz4", ".zip", ".tar", ".tgz", ".txz"]
    private static let images = [".img", ".bin"]

    /// A file's name without directories; nil for standard input.
    static func last(_ path: String) -> String? {
        path == "-" ? nil : path.split(separator: "/").last.map(String.init)
    }

    /// What the image is called when nobody says: the file's name without what it is packed in, and without `.img`; nil
    /// for standard input.
    static func imageName(_ path: String) -> String? {
        guard var name = last(path) else { return nil }
        for suffixes in [packings, packings, images] {
            if let suffix = suffixes.first(where: { name.hasSuffix($0) && name.count > $0.count }) {
                name.removeLast(suffix.count)
            }
        }
        return name
    }

    /// Where a bmap file would be: `a.img.gz.bmap`, `a.img.bmap`, `a.bmap`, as bmaptool looks for it.
    static func bmapPaths(_ path: String) -> [String] {
        guard path != "-" else { return [] }
        var paths = ["\(path).bmap"]
        var stem = path
        while let suffix = (packings + images).first(where: { stem.hasSuffix($0) && stem.count > $0.count }) {
            stem.removeLast(suffix.count)
            paths.append("\(stem).bmap")
        }
        return paths
    }
}
