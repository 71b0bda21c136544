package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headwater/headwater/broker/disk"
)

// FileReport is what there is to say of a file that no log line tells of: what is
// wrong with it, and what a start does about it. Nothing is Wrong with one that is
// only worth a note.
type FileReport struct {
	Log    string // whose directory it is in; "" for the data directory's own
	Name   string
	Wrong  string
	Remedy string
	Note   string
}

// ourFiles are the files of the data directory that a start knows. One that is new
// has its place here, and in the table of package broker's verify if a start says
// something of it.
var ourFiles = []string{
	".lock", reserveFile, metaProperties, identityCopy, checkpointFile, recoveryPointFile, startOffsetFile,
	highWatermarkFile, cleanerFile, cleanShutdownFile, clockFile, "headwater.topics.json", "headwater.producer-ids.json",
	"headwater.region.json", "headwater.region-producer-ids.json",
}

// logFiles are those of a log's directory, beside the ones of a segment.
var logFiles = []string{partitionMetadata, agesFile, resetFile, epochFile}

// segmentFiles are the endings of files that are named by an offset.
var segmentFiles = []string{logExt, indexExt, timeIndexExt, logExt + cleanedExt, logExt + swapExt, ".snapshot"}

// CheckFiles looks at the files of the data directory at path, but for what is in
// segments, and reports in the order of their names what a start would put right
// without a word, and what it would leave alone. It writes nothing.
func CheckFiles(fsys disk.FS, path string, report func(FileReport)) error {
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir() && (checkName(name) == nil || strings.HasSuffix(name, deleted) || name == quarantineDir || name == setAsideDir || name == "lost+found"):
		case slices.Contains(ourFiles, name) || strings.HasSuffix(name, ".tmp"):
		case strings.HasPrefix(name, "headwater.topics.json.damaged-"):
			report(FileReport{Name: name, Note: "a list of topics that could not be read, kept aside; it may be removed"})
		case strings.HasPrefix(name, "headwater.region.json.damaged-"):
			report(FileReport{Name: name, Note: "what was known of the region and could not be read, kept aside; it may be removed"})
		default:
			report(FileReport{Name: name, Note: "not a file of headwater's; left alone"})
		}
	}
	if _, err := fsys.Stat(filepath.Join(path, cleanShutdownFile)); removed(err) {
		report(FileReport{Name: cleanShutdownFile, Note: "missing: the last stop was not a clean one"})
	}
	checkIdentityFiles(fsys, path, report)
	checkKafkaCheckpoints(fsys, path, report)
	if err := noteQuarantine(fsys, path, report); err != nil {
		return err
	}
	if err := noteSetAside(fsys, path, report); err != nil {
		return err
	}
	return eachLog(fsys, path, func(name string, files []fileInfo) error {
		checkLogFiles(name, files, report)
		return nil
	})
}

// IsData reports whether anything at path says that it is a data directory: what
// looks through one, and repairs it, must not do that to another.
func IsData(fsys disk.FS, path string) (bool, error) {
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() != ".lock" && slices.Contains(ourFiles, e.Name()) || e.IsDir() && checkName(e.Name()) == nil && hasSegment(fsys, filepath.Join(path, e.Name())) {
			return true, nil
		}
	}
	return false, nil
}

func hasSegment(fsys disk.FS, path string) bool {
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if _, ext, ok := parseSegmentName(e.Name()); ok && ext == logExt {
			return true
		}
	}
	return false
}

// fileInfo is a file of a log's directory.
type fileInfo struct {
	name string
	size int64
	dir  bool
}

// eachLog calls do with the files of each log's directory.
func eachLog(fsys disk.FS, path string, do func(name string, files []fileInfo) error) error {
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || checkName(e.Name()) != nil {
			continue
		}
		within, err := fsys.ReadDir(filepath.Join(path, e.Name()))
		if err != nil {
			return err
		}
		var files []fileInfo
		for _, f := range within {
			info, err := f.Info()
			if err != nil {
				return err
			}
			files = append(files, fileInfo{f.Name(), info.Size(), f.IsDir()})
		}
		if err := do(e.Name(), files); err != nil {
			return err
		}
	}
	return nil
}

func checkLogFiles(log string, files []fileInfo, report func(FileReport)) {
	identified, segments := false, false
	for _, f := range files {
		_, ext, named := parseSegmentName(f.name)
		identified = identified || f.name == partitionMetadata
		segments = segments || named && ext == logExt
		known := named && slices.Contains(segmentFiles, ext) || slices.Contains(logFiles, f.name) || strings.HasSuffix(f.name, ".tmp")
		if f.dir || !known {
			report(FileReport{Log: log, Name: f.name, Note: "not a file of headwater's; left alone"})
		}
	}
	if segments && !identified {
		report(FileReport{Log: log, Name: partitionMetadata, Wrong: "missing", Remedy: "written anew from the list of topics"})
	}
}

// checkIdentityFiles looks at meta.properties and its copy.
func checkIdentityFiles(fsys disk.FS, path string, report func(FileReport)) {
	main, mainErr := checkSealed(fsys, filepath.Join(path, metaProperties))
	spare, spareErr := checkSealed(fsys, filepath.Join(path, identityCopy))
	switch {
	case mainErr != nil && spareErr == nil:
		report(FileReport{Name: metaProperties, Wrong: mainErr.Error(), Remedy: "written anew from " + identityCopy})
	case mainErr != nil && !removed(spareErr): // a start says so itself
	case removed(mainErr):
		report(FileReport{Name: metaProperties, Wrong: mainErr.Error(), Remedy: "written anew, with a new cluster id"})
	case mainErr != nil:
		report(FileReport{Name: metaProperties, Wrong: mainErr.Error(), Remedy: "sealed, and copied to " + identityCopy})
	case spareErr != nil:
		report(FileReport{Name: identityCopy, Wrong: spareErr.Error(), Remedy: "written anew from " + metaProperties})
	case !bytes.Equal(main, spare):
		report(FileReport{Name: identityCopy, Wrong: "not the same as " + metaProperties, Remedy: "written anew from " + metaProperties})
	}
}

// missing is a file that is not there, in words.
type missing struct{ error }

func (missing) Error() string   { return "missing" }
func (m missing) Unwrap() error { return m.error }

func checkSealed(fsys disk.FS, path string) ([]byte, error) {
	data, err := disk.ReadFile(fsys, path, maxMetaBytes)
	switch {
	case removed(err):
		return nil, missing{err}
	case err != nil:
		return nil, err
	case !isSealed(data, "="):
		return nil, errors.New("its checksum does not hold, or is missing")
	}
	return data, nil
}

// checkKafkaCheckpoints looks at the checkpoints that a start does not read while
// there is one of ours.
func checkKafkaCheckpoints(fsys disk.FS, path string, report func(FileReport)) {
	for _, name := range []string{recoveryPointFile, startOffsetFile} {
		data, err := disk.ReadFile(fsys, filepath.Join(path, name), maxCheckpointBytes)
		if removed(err) {
			continue // the first is written after a minute
		}
		if err == nil {
			_, err = parseOffsets(data)
		}
		if err != nil {
			report(FileReport{Name: name, Wrong: err.Error(), Remedy: "written anew with the next checkpoint"})
		}
	}
}

func noteQuarantine(fsys disk.FS, path string, report func(FileReport)) error {
	q := quarantine{fs: fsys, root: filepath.Join(path, quarantineDir)}
	kept, err := q.bytes()
	if removed(err) {
		return nil
	}
	if err != nil {
		return err
	}
	report(FileReport{Name: quarantineDir, Note: fmt.Sprintf("%d damaged bytes, taken out of segments before; they may be removed", kept)})
	return nil
}
