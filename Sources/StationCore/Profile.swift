/// The declarative recipe of an image: what OpenWrt's Image Builder shall put together for one device.
///
/// `profile_id` is its key. A build never changes it. `ProfileReader` is the way to one from outside, and holds every
/// value to `ProfileRules`; members that are nil were not given.
package struct Profile: Equatable, Sendable {
    // Identity and device.
    package var profileID: String
    package var name: String
    package var description: String?
    /// What the user calls the device: a label or a serial number.
    package var deviceID: String
    package var tags: [String] = []

    // Which Image Builder.
    package var release: String
    package var target: String
    package var subtarget: String
    /// `PROFILE=`.
    package var imageBuilderProfile: String

    /// `PACKAGES=`: installed besides the Image Builder's own, and taken out of those.
    package var packages: [String] = []
    package var packagesRemove: [String] = []

    /// `FILES=`: single files, which win over `overlayDirectory`, a whole tree.
    package var files: [File] = []
    package var overlayDirectory: String?

    package var policies = Policies()
    package var buildDefaults = BuildDefaults()

    /// `BIN_DIR=` of the schema. A build always goes to a fresh directory; a copy is published to `bin_dir/BUILD/` where that
    /// is under one of the configured `ExportRoots=`.
    package var binDirectory: String?
    /// `EXTRA_IMAGE_NAME=`: stands in the names of the image files.
    package var extraImageName: String?
    /// `DISABLED_SERVICES=`: names in `/etc/init.d` that do not start.
    package var disabledServices: [String] = []
    /// `ROOTFS_PARTSIZE=`, in MiB.
    package var rootfsPartitionMebibytes: Int?
    /// `ADD_LOCAL_KEY=1`: the image trusts packages signed with the station's own key.
    package var addLocalKey: Bool?

    /// Such as `human:alice`.
    package var createdBy: String?
    package var notes: String?

    package init(
        profileID: String, name: String, deviceID: String, release: String, target: String, subtarget: String,
        imageBuilderProfile: String
    ) {
        self.profileID = profileID
        self.name = name
        self.deviceID = deviceID
        self.release = release
        self.target = target
        self.subtarget = subtarget
        self.imageBuilderProfile = imageBuilderProfile
    }

    /// One file of the host that goes into the image.
    package struct File: Equatable, Sendable {
        /// On the host: absolute, or relative as `ProfileSources` resolves it.
        package var source: String
        /// In the image: absolute.
        package var destination: String
        /// Three or four octal digits; nil keeps the source's, without what lets others write.
        package var mode: String?
        /// `user` or `user:group`; nil is root. The Image Builder makes every file root's, so another owner is set by a
        /// script on the device's first boot.
        package var owner: String?

        package init(source: String, destination: String, mode: String? = nil, owner: String? = nil) {
            self.source = source
            self.destination = destination
            self.mode = mode
            self.owner = owner
        }
    }

    /// How an image shall be chosen and finished.
    package struct Policies: Equatable, Sendable {
        /// Which of a build's artifacts goes onto the card, where there are several.
        package var filesystem: Filesystem?
        /// A preference that cannot be had: symbols are fixed in the Image Builder's kernel.
        package var includeKernelSymbols: Bool?
        /// A preference that cannot be had: packages come stripped or not.
        package var stripDebug: Bool?
        /// The device grows its root file system over the card on its first boot.
        package var autoResizeRootfs: Bool?
        /// Must be true for a snapshot's Image Builder.
        package var allowSnapshot: Bool?

        package init() {}
    }

    /// What a build does when the request says nothing else.
    package struct BuildDefaults: Equatable, Sendable {
        /// Builds anew though there is a build of the same inputs: when building and assigning, never at insertion.
        package var rebuildIfCached: Bool?
        /// A preference that cannot be had: an Image Builder brings initramfs images or does not.
        package var initramfs: Bool?
        /// Keeps the directory that the Image Builder worked in, to look into.
        package var keepBuildDirectory: Bool?

        package init() {}
    }

    /// The root file systems that images for cards come with.
    package enum Filesystem: String, CaseIterable, Sendable {
        case squashfs, ext4
    }

    /// Whether its Image Builder is one of a snapshot, which changes from day to day: `snapshot`, `23.05-SNAPSHOT`.
    package var isSnapshot: Bool { Self.isSnapshot(release) }

    package static func isSnapshot(_ release: String) -> Bool { release.lowercased().hasSuffix("snapshot") }
}

/// What the store knows of a profile besides its content; `meta` of an export.
package struct ProfileMeta: Equatable, Codable, Sendable {
    /// RFC 3339.
    package var createdAt: String?
    package var updatedAt: String?
    package var createdBy: String?

    package init(createdAt: String? = nil, updatedAt: String? = nil, createdBy: String? = nil) {
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.createdBy = createdBy
    }

    enum CodingKeys: String, CodingKey {
        case createdAt = "created_at"
        case updatedAt = "updated_at"
        case createdBy = "created_by"
    }
}
