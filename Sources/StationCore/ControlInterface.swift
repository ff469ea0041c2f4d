/// The control socket's interface as Varlink describes it: what `org.varlink.service.GetInterfaceDescription` returns.
///
/// It is the contract with every other program, so what it says of a method's parameters is also what the server takes:
/// a parameter that does not stand here is refused.
package enum ControlInterface {
    /// Varlink's first segment takes letters only, hence no `flashing-station.Control`.
    package static let name = "flashing.station.Control"

    /// The version of all programs of this project.
    package static let productVersion = StationVersion.text

    package static let description = """
        # The control socket of a flashing station: /run/flashing-station/control.
        #
        # Members of group station may read; members of group station-operator may also assign, arm, flash, cancel,
        # identify, import, forgive, build, fetch and prune Image Builders, and delete profiles; Reload and SnapshotStore are root's. Others get org.varlink.service.PermissionDenied.
        # A call takes at most 64 KiB, a reply at most 1 MiB. Members that are not described here are refused in calls,
        # and may appear in replies of later versions: ignore them. Byte counts are bytes, times are seconds.
        # A client that hangs up ends its Watch, WatchDevices, Inspect, ImportImage or VerifyImage.
        interface \(name)

        # Something that is wrong, for programs and for people.
        type Problem (
          # A stable word in snake_case, such as slot_unknown.
          code: string,
          # One sentence.
          message: string,
          # What to do about it, preferably a command; may be empty.
          remedy: string
        )

        # How a job ended: written and read back whole; not right in the end; never opened for writing; ended by somebody;
        # ended by the loss of station, writer or power.
        type VerdictWord (passed, failed, refused, cancelled, interrupted)

        # How a job ended, and why.
        type Verdict (
          verdict: VerdictWord,
          # A stable code, for failed and refused.
          reason: ?string
        )

        # The parts of a job, in their order.
        type Phase (guarding, comparing, probing, wiping, writing, verifying, finishing)

        # How far a job is.
        type Progress (
          phase: Phase,
          # Bytes of this phase.
          phaseBytesDone: int,
          phaseBytesTotal: int,
          # Bytes moved to or from the card by the whole job.
          bytesDone: int,
          bytesTotal: int,
          # Seconds since the job began.
          elapsedSeconds: float,
          # Seconds since the card answered last while a request is under way; else 0.
          silentSeconds: float
        )

        # Everything that one job found out about a card.
        type JobReport (
          verdict: Verdict,
          # What exactly was wrong: device, offset, numbers.
          detail: string,
          cardByteCount: int,
          sectorByteCount: int,
          # The identity an MMC host shows of its card (CID).
          cardID: ?string,
          # Bytes of content that were written, and that were read back and found equal.
          bytesWritten: int,
          bytesVerified: int,
          # Bytes of content that were on the card already and were not written; null where everything is written in any case.
          bytesUnchanged: ?int,
          # From the card's arrival, or the command, to the disk held exclusively; 0 when it never was.
          heldAfterSeconds: float,
          guardSeconds: float,
          # The capacity check: its blocks, and the reads that push them out of a reader's cache.
          capacitySeconds: float,
          wipeSeconds: float,
          # Reading what was there before anything was written; null where nobody did, or where it was the read-back.
          compareSeconds: ?float,
          writeSeconds: float,
          verifySeconds: float,
          totalSeconds: float,
          # Requests that were written once more after a mismatch.
          rewrites: int,
          # The first offset that was wrong, in bytes, and how many blocks of 4 KiB were.
          firstBadOffset: ?int,
          badBlocks: int,
          # SHA-256 of what was read back, for passed: 64 hexadecimal digits.
          readBackSHA256: ?string,
          # SHA-256 of the card's first bytes as the job left them.
          headSHA256: ?string,
          # The unfinished or failed job whose marker the card carried when it came.
          foundMarker: ?string,
          foundMarkerFailed: bool
        )

        # What the station thinks of a card: it never failed; it failed and did not pass since; it failed three times in a row
        # and is refused until it is forgiven; it passed after it had failed; somebody forgave it.
        type CardState (good, suspect, condemned, recovered, forgiven)

        # By what a card is known: its own identity, which MMC hosts show; or the marker that a failed job leaves in its first
        # MiB, which is gone when the card passes or is wiped elsewhere.
        type CardIdentity (cid, marker)

        # A job that failed on a card.
        type CardFailure (
          job: string,
          slot: string,
          reason: string,
          # Seconds since 1970, and whether the clock had been set by a time source.
          at: float,
          wasClockSynchronised: bool
        )

        # One card as the station remembers it.
        type CardRecord (
          # 32 hexadecimal digits: its CID, or the key of the first job that failed on it.
          card: string,
          identity: CardIdentity,
          state: CardState,
          byteCount: int,
          # What the reader called itself when the card was seen last.
          model: string,
          # When its first and its last job ended: seconds since 1970.
          firstSeenAt: float,
          lastSeenAt: float,
          passedCount: int,
          failedCount: int,
          # Those since it passed last or was forgiven.
          failuresInARow: int,
          lastFailure: ?CardFailure
        )

        # What a slot's next cards get: one image, pinned by its SHA-256.
        type Assignment (
          image: string,
          sha256: string,
          byteCount: int,
          # The profile and the build that the image came from; absent for an imported one.
          profile: ?string,
          build: ?string
        )

        # The card in a slot.
        type Card (
          # The kernel's name of the disk, such as sda.
          device: string,
          byteCount: int,
          # What the reader calls itself.
          model: string,
          cardID: ?string,
          # What the station remembers of it; absent for a card that it does not know, or not yet.
          memory: ?CardRecord
        )

        # The job of the card in a slot. progress is there while it runs, report when it has ended.
        type SlotJob (
          # 32 hexadecimal digits.
          id: string,
          image: string,
          # Checks only: the card is not opened for writing.
          isDryRun: bool,
          progress: ?Progress,
          # Of the present phase.
          bytesPerSecond: ?float,
          # Of the whole job, about: from what this job showed of writing and reading, and before that the slot's last one.
          secondsLeft: ?float,
          report: ?JobReport
        )

        # What a slot does. absent: no disk is at its place. empty: its reader has no card. waiting: a card is in and is not
        # written, reason says why. stuck: the card does not answer. Else the verdict of the card that is in.
        type SlotState (absent, empty, waiting, running, stuck, passed, failed, refused, cancelled, interrupted)

        # What a slot's light says. dark: disarmed. ready: a card may come. busy: do not touch. passed: take it out. failed: set
        # the card aside. help: not a card's fault, call somebody.
        type Signal (dark, ready, busy, passed, failed, help)

        # The lights of a slot as its file names them, such as led:green:slot1 or gpio:CHIPLABEL:OFFSET. The second is the red
        # one of two.
        type SlotLights (light: ?string, failureLight: ?string)

        # An image that is being built for a slot, or could not be.
        type Preparation (profile: string, problem: ?Problem)

        # One slot.
        type SlotStatus (
          name: string,
          state: SlotState,
          # Why a card waits (unassigned, disarmed, was_in_already, same_card, preparing, build_failed), was refused or failed: a stable code.
          reason: ?string,
          # Whether the next card that comes in is written.
          isArmed: bool,
          # Why the station itself disarmed it: failures_in_a_row, slot_file_unusable, slot_moved or
          # restored.
          disarmReason: ?string,
          # Failures since a card passed here last, or since the slot was armed.
          failuresInARow: int,
          assignment: ?Assignment,
          # The profile whose image is being built for the slot; cards wait for it.
          preparation: ?Preparation,
          # Where the slot is, such as: usb 480 port 2.3 lun 0 at pci0000:00/0000:00:04.0
          place: string,
          # The reader that is declared there, such as: 0bda:0326 luns 1
          reader: string,
          # Also of a slot that has no light.
          signal: Signal,
          lights: SlotLights,
          # Where its reader came up instead, when that is the other speed class of its port: nothing is written there.
          elsewhere: ?string,
          card: ?Card,
          job: ?SlotJob,
          # What somebody should know about slot, reader or card, whatever the state is: failures_in_a_row,
          # slot_file_unusable, slot_moved, restored, card_suspect, slot_failing, slot_slow, card_slow.
          notes: []Problem
        )

        # One condition on the way of a card.
        type Gate (
          # declared, reader, assigned, image, armed, card, memory, fresh or job.
          gate: string,
          isOpen: bool,
          # What is found, as a sentence.
          finding: string,
          # The command or the act that opens it; empty when it is open.
          remedy: string
        )

        # Why a job began: a card came in; somebody called Flash; the card carried the marker of an unfinished job;
        # the slot file says AtBoot=write.
        type Trigger (insertion, flash, resumed, atBoot)

        # One job as it is remembered.
        type JobRecord (
          # Counts up over all boots.
          sequence: int,
          # 32 hexadecimal digits.
          id: string,
          slot: string,
          # 32 hexadecimal digits.
          bootID: string,
          # The kernel's disk sequence number of the card in that boot.
          deviceSequence: int,
          image: string,
          imageSHA256: string,
          imageByteCount: int,
          profile: ?string,
          # The build of its image: BUILD_ID in /etc/flashing-station-release of a device that runs it.
          build: ?string,
          run: ?string,
          trigger: Trigger,
          isDryRun: bool,
          # The uid that called Flash.
          callerUserID: ?int,
          # What the reader calls itself.
          model: string,
          # Seconds since 1970, and whether the clock had been set by a time source.
          startedAt: float,
          wasClockSynchronised: bool,
          # Absent while the job is under way.
          report: ?JobReport,
          # The card, where it is known: see CardRecord.
          card: ?string
        )

        # How the newest jobs of a slot went: at most 200 that passed, or failed by the card's or the reader's fault.
        type SlotStatistics (
          slot: string,
          jobCount: int,
          failedCount: int,
          # Medians of writing and reading back: of the last 5 jobs, and of those before, once there are 25 that wrote all of
          # their image; with 5 to 24 of them, of all is what is usual.
          usualBytesPerSecond: ?float,
          recentBytesPerSecond: ?float
        )

        # What libblkid says of a card or a partition, made printable.
        type Signature (type: ?string, label: ?string, uuid: ?string)

        # One entry of a card's partition table.
        type Partition (
          number: int,
          # In bytes.
          offset: int,
          byteCount: int,
          # The table's own word: 0x83, or a GPT type.
          type: ?string,
          name: ?string,
          signature: Signature
        )

        # The marker of a job that did not pass.
        type CardMark (
          job: string,
          # unfinished, failed or cancelled.
          state: string,
          reason: string
        )

        # A card beside bytes that may be on it.
        type Comparison (
          # What was looked for, and how many bytes from the card's beginning on.
          sha256: string,
          byteCount: int,
          # What was read from the medium.
          readSHA256: string,
          # The first byte that differs, and how many do; absent where the image is no longer there to compare.
          firstDifferentOffset: ?int,
          differentByteCount: ?int
        )

        # What is on a card.
        type CardContents (
          cardByteCount: int,
          sectorByteCount: int,
          cardID: ?string,
          # Never there in a reply: a card that the guard refuses is an error with the same code.
          refusal: ?string,
          detail: string,
          # dos or gpt.
          table: ?string,
          # Of the card as a whole.
          signature: Signature,
          partitions: []Partition,
          marker: ?CardMark,
          # Of the first 64 KiB.
          headSHA256: ?string,
          comparisons: []Comparison,
          # Why the card could not be read to the end.
          failure: ?string
        )

        # What a card is: every byte of an image that was written here; an image that was written here, and other bytes now;
        # the marker of a job that did not pass; nothing the station remembers; it could not be read.
        type Origin (intact, changed, unfinished, not_ours, unreadable)

        # What is on a card, and whether the station wrote it.
        type CardInspection (
          slot: string,
          origin: Origin,
          contents: CardContents,
          # The newest job that wrote these bytes, or whose marker the card carries.
          job: ?JobRecord,
          # How many passed jobs left these bytes on a card; over USB nobody can tell which of them it was.
          jobCount: int,
          memory: ?CardRecord
        )

        # How the bytes of an image were vouched for when it was imported, from the weakest to the strongest: not at all; by
        # the checksums of a bmap file; by a SHA-256, given or listed; by a signature of the file or of the list it is in.
        type VouchingKind (none, bmap, sha256, signature)

        # What a SHA-256 or a signature is of: the file as it was given, or what it unpacks to.
        type VouchingSubject (file, image)

        # The strongest of what vouched for an image.
        type Vouching (
          kind: VouchingKind,
          subject: ?VouchingSubject,
          # Of a signature: the key's fingerprint.
          key: ?string
        )

        # Where the bytes of an image came from.
        type ImageOrigin (
          # What the file was called; absent for a pipe.
          fileName: ?string,
          # What the image was packed in, from the outside in: raw, gzip, zip › gzip.
          container: string,
          # Whether a checksum in the packing covered all of the image, and was right.
          isChecked: bool,
          vouching: Vouching
        )

        # A file that comes beside an image: a map of its blocks with checksums; a list of checksums, a line each with 64
        # hexadecimal digits, a space, a star or a space, and a name; a detached signature by usign, signify or GnuPG, of the
        # list where there is one, else of the image file.
        type Companion (bmap, sums, signature)

        # The parts of an import, as far as they take time: the file is copied aside, since it is needed whole; it is read,
        # unpacked and written; the image is made to last. And that of a verification.
        type ImportStep (copying, reading, sealing, verifying)

        # One image in the library.
        type ImageRecord (
          name: string,
          # 64 hexadecimal digits.
          sha256: string,
          byteCount: int,
          # Seconds since 1970, and the uid that imported it.
          importedAt: float,
          importedByUserID: int,
          origin: ImageOrigin
        )

        # A block device.
        type DeviceRecord (
          # The kernel's name, such as sda.
          name: string,
          # Its path below /sys.
          devicePath: string,
          isWholeDisk: bool,
          # The kernel's disk sequence number.
          deviceSequence: ?int,
          # 0 for a reader without a card.
          byteCount: int,
          isReadOnly: bool,
          # Absent for a disk on neither USB nor MMC.
          place: ?string,
          # The same port at its other speed class.
          otherSide: ?string,
          reader: ?string,
          # What the reader calls itself.
          model: string,
          # For an SD host: the card's identity, and SD or MMC.
          cardID: ?string,
          cardType: ?string
        )

        # One version of a profile, without its content. Which Image Builder: release, target, subtarget, imageBuilderProfile.
        type ProfileRecord (
          profileID: string,
          # Counts up from 1 with each import that changed something.
          version: int,
          name: string,
          deviceID: string,
          tags: []string,
          release: string,
          target: string,
          subtarget: string,
          imageBuilderProfile: string,
          # SHA-256 of the profile's canonical JSON: 64 hexadecimal digits.
          sha256: string,
          # SHA-256 of the archive of its files; absent where it has none.
          overlaySHA256: ?string,
          # Seconds since 1970.
          importedAt: float,
          importedByUserID: int
        )

        # What became of an Image Builder: it is being fetched; it is there; it could not be had; a newer one of the same
        # snapshot took its place.
        type BuilderState (pending, ready, broken, deprecated)

        # One of OpenWrt's Image Builders.
        type BuilderRecord (
          release: string,
          target: string,
          subtarget: string,
          state: BuilderState,
          # Of the archive, as the rest; absent while there is none.
          sha256: ?string,
          archiveName: ?string,
          archiveByteCount: ?int,
          # What it takes unpacked.
          byteCount: ?int,
          vouching: ?Vouching,
          # The base URL that it came from.
          mirror: ?string,
          architecture: ?string,
          # Its version code, such as r28739-d9340319c6.
          revision: ?string,
          defaultPackages: []string,
          # Seconds since 1970, and the uid; absent for the station itself.
          changedAt: float,
          changedByUserID: ?int,
          # When a build worked with it last.
          lastUsedAt: ?float,
          problem: ?Problem
        )

        # One device that an Image Builder can build for.
        type BuilderProfile (
          name: string,
          title: string,
          packages: []string,
          hasImageMetadata: bool,
          supportedDevices: []string
        )

        # The parts of fetching an Image Builder and of a build: list and signature; the archive; it is unpacked; make info;
        # the profile's files are laid out; make image; artifacts are checked and the card's image is sealed.
        type BuildStep (resolving, downloading, unpacking, examining, preparing, building, collecting)

        # What became of a build.
        type BuildState (running, succeeded, failed, cancelled, interrupted)

        # What changes when a file's bytes are changed; times in nanoseconds since 1970.
        type FileWitness (inode: int, byteCount: int, modifiedAt: int, changedAt: int)

        # A file that a build produced.
        type Artifact (
          name: string,
          # As profiles.json says; manifest and other for what it does not list.
          type: string,
          filesystem: ?string,
          byteCount: int,
          sha256: string,
          witness: FileWitness
        )

        # The image of a build as it goes onto cards.
        type CardImage (artifact: string, sha256: string, byteCount: int, witness: FileWitness)

        # What a build made.
        type BuildProduct (
          artifacts: []Artifact,
          versionCode: string,
          packageCount: int,
          # Absent for devices that have no image for a card; cardRefusal says so.
          card: ?CardImage,
          cardRefusal: ?Problem,
          byteCount: int,
          # SHA-256 of the station's own key, where the image trusts it.
          localKey: ?string
        )

        # One build.
        type BuildRecord (
          # Counts up over all boots.
          sequence: int,
          # 32 hexadecimal digits; BUILD_ID in /etc/flashing-station-release of the image.
          id: string,
          profileID: string,
          profileVersion: int,
          release: string,
          target: string,
          subtarget: string,
          # SHA-256 of everything that makes a difference.
          key: string,
          builderSHA256: string,
          state: BuildState,
          startedAt: float,
          wasClockSynchronised: bool,
          endedAt: ?float,
          callerUserID: ?int,
          lastUsedAt: ?float,
          # Whether its files are there still.
          isKept: bool,
          product: ?BuildProduct,
          problem: ?Problem
        )

        # How far a download or a build is.
        type BuildProgress (
          step: BuildStep,
          # Bytes; lines of the log while building.
          bytesDone: int,
          bytesTotal: ?int,
          bytesPerSecond: ?float,
          secondsLeft: ?float,
          log: ?string,
          builder: ?BuilderRecord,
          build: ?BuildRecord,
          isReused: ?bool
        )

        # All slots, now.
        method GetStatus() -> (
          # Of the station that answers.
          version: string,
          # 32 hexadecimal digits.
          bootID: string,
          # Problems of the station as a whole, such as a slot file that was refused.
          problems: []Problem,
          slots: []SlotStatus
        )

        # All slots, now and then on every change, when called with more; a slow reader gets the newest only.
        # While jobs run there are at least two replies a second.
        method Watch() -> (version: string, bootID: string, problems: []Problem, slots: []SlotStatus)

        # Why nothing is happening in a slot, gate by gate. slot is a name.
        method Explain(slot: string) -> (gates: []Gate, notes: []Problem)

        # Jobs, newest first. What is left out does not filter. Called with more, long histories come in several replies.
        method ListHistory(
          # A name or glob.
          slot: ?string,
          # A job id or its beginning.
          job: ?string,
          verdict: ?VerdictWord,
          # Jobs that began at or after: seconds since 1970.
          since: ?float,
          # Jobs that began before.
          until: ?float,
          # A card, or a job that failed on it, or the beginning of either.
          card: ?string,
          # An image's name or glob.
          image: ?string,
          # At most so many; 50 when left out, 10000 at most.
          limit: ?int
        ) -> (jobs: []JobRecord)

        # All images of the library.
        method ListImages() -> (images: []ImageRecord)

        # Disks with a medium, to declare slots by. To be called with more: the first replies are the disks that are there,
        # then comes one reply without device, then one for each disk or card that comes.
        method WatchDevices() -> (
          device: ?DeviceRecord,
          # The slot that declares its place.
          slot: ?string
        )

        # Cards that are known, the one seen last first. What is left out does not filter.
        method ListCards(
          # A card, or a job that failed on it, or the beginning of either.
          card: ?string,
          state: ?CardState,
          # Seen at or after: seconds since 1970.
          since: ?float,
          # At most so many; 50 when left out, 10000 at most.
          limit: ?int
        ) -> (cards: []CardRecord)

        # How the newest jobs of each slot went.
        method GetStatistics() -> (slots: []SlotStatistics)

        # Looks at the card in a slot, read-only, and compares it with what was written here. It is no job, and changes no
        # slot's state; a job that begins ends it. Called with more, replies tell how far it is; the last one has inspection.
        method Inspect(slot: string) -> (
          bytesDone: int,
          bytesTotal: int,
          inspection: ?CardInspection
        )

        # Assigns an image, pinned by its present SHA-256, to slots (names and globs), and arms them. Of a profile, the image is
        # that of a build with the same inputs, or is built now: until it is there, cards that are inserted wait for it, and
        # cards that were in before stay as they are. Called with more, replies tell how far it is, and the last one comes when
        # the slots are armed; the work goes on when the client hangs up.
        method Assign(
          slots: []string,
          # One of the two: an image's name, or a profile's id.
          image: ?string,
          profile: ?string
        ) -> (
          # The slots that were meant.
          slots: []string,
          # Those whose card is in: it stays as it is until it is inserted again, or Flash is called.
          withCardIn: []string,
          # Whether the image is still being built.
          isPreparing: ?bool,
          progress: ?BuildProgress
        )

        # Takes the assignment away, and disarms. Replies as Assign does.
        method Unassign(slots: []string) -> (slots: []string, withCardIn: []string)

        # Lets the next card be written. Replies as Assign does.
        method Arm(slots: []string) -> (slots: []string, withCardIn: []string)

        # Lets no card be written until Arm or Assign; a running job goes on. An empty list means all slots.
        method Disarm(slots: []string) -> (slots: []string, withCardIn: []string)

        # Begins a job on the card that is in, at once.
        method Flash(
          # A name.
          slot: string,
          # Instead of the slot's assignment, for this card only.
          image: ?string,
          # Checks only: the card is not opened for writing. False when left out.
          isDryRun: ?bool
        ) -> (
          slots: []string,
          withCardIn: []string,
          # The job that began.
          job: string
        )

        # Ends the running jobs of slots; their cards are then unfinished.
        method Cancel(slots: []string) -> (slots: []string, withCardIn: []string)

        # Lets the lights of a slot blink fast for some seconds, in turns where there are two, so that a person finds it; then
        # they say again what there is to say.
        method Identify(
          # A name.
          slot: string,
          # 1 to 600; 10 when left out.
          seconds: ?int
        ) -> (
          # Those that blink.
          lights: []string
        )

        # Puts an image into the library: raw, or packed with gzip, xz, zstd, bzip2, lz4, zip or tar, which its bytes tell. Its
        # file's descriptor, open for reading, comes beside the call (SCM_RIGHTS), and may be a pipe; behind it come the
        # descriptors of its companions, regular files, in the order in which companions names them. Called with more, replies
        # tell how far it is; the last one has image.
        method ImportImage(
          name: string,
          # Fail unless the file as it is given has this SHA-256, or what it unpacks to: 64 lower-case hexadecimal digits.
          sha256: ?string,
          # Take bytes that begin with neither MBR nor GPT. False when left out.
          isRaw: ?bool,
          # Let the name stand for the new bytes if it stands for others; assignments keep the old ones. False when left out.
          replaces: ?bool,
          # The file's name without directories: it is looked up in a list of checksums, and remembered.
          fileName: ?string,
          # Which file of an archive is the image: its path in there, or the end of it behind a slash.
          member: ?string,
          # What the further descriptors are.
          companions: ?[]Companion
        ) -> (
          step: ImportStep,
          # Of the file as it is: packed.
          bytesDone: int,
          # Absent where the length is not known.
          bytesTotal: ?int,
          # Of this step.
          bytesPerSecond: ?float,
          # Of this step, estimated.
          secondsLeft: ?float,
          image: ?ImageRecord
        )

        # Reads an image of the library and compares it with its SHA-256. Replies as ImportImage does.
        method VerifyImage(name: string) -> (
          step: ImportStep,
          bytesDone: int,
          bytesTotal: ?int,
          bytesPerSecond: ?float,
          secondsLeft: ?float,
          image: ?ImageRecord
        )

        # Takes an image out of the library; one that is assigned stays and is an error.
        method RemoveImage(name: string) -> ()

        # The newest version of each profile, by profileID. What is left out does not filter.
        method ListProfiles(
          tag: ?string,
          device: ?string,
          release: ?string,
          # A target, or target/subtarget.
          target: ?string
        ) -> (profiles: []ProfileRecord)

        # All versions of a profile, newest first.
        method ListProfileVersions(profileID: string) -> (profiles: []ProfileRecord)

        # One version of a profile, of deleted ones too.
        method GetProfile(
          profileID: string,
          # The newest when left out; then the profile must not be deleted.
          version: ?int
        ) -> (
          record: ProfileRecord,
          # The profile under the names of its schema; see station-profile(5).
          profile: object,
          # When its first version came: seconds since 1970.
          createdAt: float
        )

        # Takes in a profile; a new version where profile or files changed. Where the profile names files, the descriptor of
        # their archive, open for reading, comes beside the call (SCM_RIGHTS): ustar, sorted, as stationctl packs it.
        method ImportProfile(
          # Under the names of the schema; unknown ones are refused.
          profile: object,
          # SHA-256 of the archive; absent where the profile names no files.
          overlaySHA256: ?string
        ) -> (
          profile: ProfileRecord,
          # False when the same was there already.
          isNewVersion: bool
        )

        # Takes a profile away. Its versions stay, for what was built from them.
        method DeleteProfile(profileID: string) -> ()
        # Lets a card begin anew: its failures no longer count. card is a card, or a job that failed on it, or the beginning
        # of either.
        method ForgiveCard(card: string) -> (card: CardRecord)

        # All Image Builders that are known, by their names.
        method ListBuilders() -> (builders: []BuilderRecord)

        # One Image Builder, with the devices that it knows.
        method GetBuilder(release: string, target: string, subtarget: string) -> (
          builder: BuilderRecord,
          profiles: []BuilderProfile
        )

        # Has an Image Builder ready: fetched, verified, unpacked, asked what it can build. Called with more, replies tell how
        # far it is; the last one has builder. It goes on when the client hangs up.
        method EnsureBuilder(
          release: string,
          target: string,
          subtarget: string,
          # Ask the server whether a snapshot's archive is another one by now. False when left out.
          isRefresh: ?bool
        ) -> (
          step: BuildStep,
          bytesDone: int,
          bytesTotal: ?int,
          bytesPerSecond: ?float,
          secondsLeft: ?float,
          log: ?string,
          builder: ?BuilderRecord,
          build: ?BuildRecord,
          isReused: ?bool
        )

        # Takes away Image Builders that are broken or deprecated, and those that no build worked with for some days; never one
        # in use, or one that a slot's profile needs.
        method PruneBuilders(
          # Only say which.
          isDryRun: ?bool,
          olderThanDays: ?int
        ) -> (builders: []BuilderRecord, byteCount: int)

        # Builds the image of a profile, or finds the build of the same inputs. Replies as EnsureBuilder does, with lines of the
        # log; the last one has build. It goes on when the client hangs up.
        method Build(
          profileID: string,
          # Build anew in any case. False when left out.
          isForced: ?bool,
          # Besides the profile's.
          packages: ?[]string
        ) -> (
          step: BuildStep,
          bytesDone: int,
          bytesTotal: ?int,
          bytesPerSecond: ?float,
          secondsLeft: ?float,
          log: ?string,
          builder: ?BuilderRecord,
          build: ?BuildRecord,
          isReused: ?bool
        )

        # Builds, newest first. What is left out does not filter.
        method ListBuilds(
          # A profile's id.
          profile: ?string,
          state: ?BuildState,
          # At most so many; 50 when left out, 10000 at most.
          limit: ?int
        ) -> (builds: []BuildRecord)

        # One build, by its id or the beginning of it, with what it was made from, and what of that differs from the build of
        # its profile before.
        method GetBuild(build: string) -> (
          build: BuildRecord,
          inputs: object,
          previous: ?string,
          differences: []string
        )

        # The log of a build that has ended; called with more, in parts.
        method GetBuildLog(build: string) -> (text: string)

        # Ends a build that runs.
        method CancelBuild(build: string) -> ()

        # Takes away what a build made; its record stays. One whose image is assigned is an error.
        method RemoveBuild(build: string) -> ()

        # Reads slot files and configuration anew.
        method Reload() -> ()

        # Writes a snapshot of the records, an SQLite file as of one moment, to the descriptor that comes beside the call
        # (SCM_RIGHTS): an empty regular file, open for writing. The station works on meanwhile. For backups; root's.
        method SnapshotStore() -> (
          # The newest of the steps that its tables have taken.
          schemaVersion: int,
          imageCount: int,
          profileCount: int,
          buildCount: int,
          jobCount: int,
          cardCount: int,
          byteCount: int
        )

        # Everything that can go wrong with a call that was well formed.
        error Failed (
          # A stable word in snake_case, such as slot_unknown.
          code: string,
          # One sentence.
          message: string,
          # What to do about it; may be empty.
          remedy: string
        )

        """
}
