package commitlog

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/headwater/headwater/broker/disk"
)

// Files that Kafka keeps beside the segments.
const (
	metaProperties    = "meta.properties"    // in the data directory: whose it is
	partitionMetadata = "partition.metadata" // in a log's directory: which topic's
)

// identityCopy holds the same as meta.properties, for when a bit of that flips.
const identityCopy = "headwater.meta.properties"

// checksumKey names the last line of a file of ours, the CRC-32C of all before it
// in hex. Kafka ignores it.
const checksumKey = "headwater.checksum"

// sealed returns data with a line that seals it; sep divides key and value.
func sealed(data []byte, sep string) []byte {
	return fmt.Appendf(data, "%s%s%08x\n", checksumKey, sep, crc32.Checksum(data, castagnoli))
}

// isSealed reports whether data ends with the line that seals it.
func isSealed(data []byte, sep string) bool {
	at := bytes.LastIndex(data, []byte(checksumKey))
	return at >= 0 && bytes.Equal(data, sealed(bytes.Clone(data[:at]), sep))
}

// maxMetaBytes is far more than either file has.
const maxMetaBytes = 64 << 10

// identity is what meta.properties holds.
type identity struct {
	clusterID string
	brokerID  int32
	// incarnation tells this file system from one that was wiped or swapped, which
	// has another under the same broker id.
	incarnation string
}

// format is what Kafka reads, with two lines of our own, which it ignores.
func (id identity) format() []byte {
	return sealed(fmt.Appendf(nil, "version=0\nbroker.id=%d\ncluster.id=%s\nheadwater.incarnation=%s\n", id.brokerID, id.clusterID, id.incarnation), "=")
}

// parseIdentity reads meta.properties. A file of Kafka's has no incarnation.
func parseIdentity(data []byte) (identity, error) {
	values := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		values[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	if v := values["version"]; v != "0" {
		return identity{}, fmt.Errorf("version %.40q, want 0", v)
	}
	brokerID, err := strconv.ParseInt(values["broker.id"], 10, 32)
	if err != nil {
		return identity{}, fmt.Errorf("broker.id %.40q is not a number", values["broker.id"])
	}
	if values["cluster.id"] == "" {
		return identity{}, fmt.Errorf("cluster.id is missing")
	}
	return identity{values["cluster.id"], int32(brokerID), values["headwater.incarnation"]}, nil
}

// loadIdentity reads the identity of a data directory, or gives it one. Where a
// bit of meta.properties has flipped, its copy says what it was.
func loadIdentity(fsys disk.FS, path string, brokerID int32, log *slog.Logger) (identity, error) {
	copyPath := filepath.Join(filepath.Dir(path), identityCopy)
	data, err := disk.ReadFile(fsys, path, maxMetaBytes)
	spare, spareErr := disk.ReadFile(fsys, copyPath, maxMetaBytes)
	whole := err == nil && isSealed(data, "=")
	if !whole && spareErr == nil && isSealed(spare, "=") {
		data, err = spare, nil
	} else if !whole && spareErr == nil {
		return replaceIdentity(fsys, path, salvageIdentity(data, spare, brokerID), log)
	}
	found := identity{clusterID: randomID(), brokerID: brokerID}
	if err != nil && !removed(err) {
		return identity{}, err
	}
	if err == nil {
		if found, err = parseIdentity(data); err != nil {
			return identity{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	if found.brokerID != brokerID && brokerID != AnyBroker {
		return identity{}, fmt.Errorf("%s: the data is of broker %d, and this is broker %d", path, found.brokerID, brokerID)
	}
	if found.incarnation == "" {
		found.incarnation = randomID()
	}
	if !whole {
		if err := disk.WriteFile(fsys, path, found.format()); err != nil {
			return identity{}, err
		}
	}
	if spare, err := disk.ReadFile(fsys, copyPath, maxMetaBytes); err == nil && bytes.Equal(spare, found.format()) {
		return found, nil
	}
	return found, disk.WriteFile(fsys, copyPath, found.format())
}

// salvageIdentity makes of two damaged files the best that can be: a box starts
// also then. The broker id is not asked: it may be what is damaged.
func salvageIdentity(data, spare []byte, brokerID int32) identity {
	for _, text := range [][]byte{data, spare} {
		if found, err := parseIdentity(text); err == nil && validTopicID(found.clusterID) { // ids have one form
			if brokerID != AnyBroker {
				found.brokerID = brokerID
			}
			return found
		}
	}
	return identity{clusterID: randomID(), brokerID: brokerID}
}

func replaceIdentity(fsys disk.FS, path string, found identity, log *slog.Logger) (identity, error) {
	if found.incarnation == "" {
		found.incarnation = randomID()
	}
	log.Error("meta.properties and its copy are damaged; written anew", "clusterID", found.clusterID)
	if err := disk.WriteFile(fsys, path, found.format()); err != nil {
		return identity{}, err
	}
	return found, disk.WriteFile(fsys, filepath.Join(filepath.Dir(path), identityCopy), found.format())
}

// randomID returns 22 characters as Kafka's ids have, which do not begin with '-'.
func randomID() string {
	for {
		var id [16]byte
		rand.Read(id[:]) // never fails
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
		if s := base64.RawURLEncoding.EncodeToString(id[:]); s[0] != '-' {
			return s
		}
	}
}

func formatPartitionMetadata(topicID string) []byte {
	return sealed(fmt.Appendf(nil, "version: 0\ntopic_id: %s\n", topicID), ": ")
}

// errMetadata is wrapped by the error for a partition.metadata that is damaged.
var errMetadata = errors.New("not a version and a topic id")

// readTopicID reads partition.metadata. Kafka's has no checksum.
func readTopicID(fsys disk.FS, path string) (string, error) {
	data, err := disk.ReadFile(fsys, path, maxMetaBytes)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) < 2 || len(lines) > 2 && !isSealed(data, ": ") {
		return "", fmt.Errorf("%s: %w", path, errMetadata)
	}
	topicID, ok := strings.CutPrefix(lines[1], "topic_id: ")
	if strings.TrimSpace(lines[0]) != "version: 0" || !ok || !validTopicID(topicID) {
		return "", fmt.Errorf("%s: %w", path, errMetadata)
	}
	return topicID, nil
}

// validTopicID reports whether s can stand in partition.metadata: the 22
// characters of an id.
func validTopicID(s string) bool {
	id, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(id) == 16
}
