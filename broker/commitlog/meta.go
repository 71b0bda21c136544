package commitlog

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/headwater/headwater/broker/disk"
)

// Files that Kafka keeps beside the segments.
const (
	metaProperties    = "meta.properties"    // in the data directory: whose it is
	partitionMetadata = "partition.metadata" // in a log's directory: which topic's
)

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

// format is what Kafka reads, with a line of our own, which it ignores.
func (id identity) format() []byte {
	return fmt.Appendf(nil, "version=0\nbroker.id=%d\ncluster.id=%s\nheadwater.incarnation=%s\n", id.brokerID, id.clusterID, id.incarnation)
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

// loadIdentity reads the identity of a data directory, or gives it one.
func loadIdentity(fsys disk.FS, path string, brokerID int32) (identity, error) {
	id := identity{clusterID: randomID(), brokerID: brokerID, incarnation: randomID()}
	data, err := disk.ReadFile(fsys, path, maxMetaBytes)
	if removed(err) {
		return id, disk.WriteFile(fsys, path, id.format())
	}
	if err != nil {
		return identity{}, err
	}
	found, err := parseIdentity(data)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", path, err)
	}
	if found.brokerID != brokerID {
		return identity{}, fmt.Errorf("%s: the data is of broker %d, and this is broker %d", path, found.brokerID, brokerID)
	}
	if found.incarnation == "" {
		found.incarnation = id.incarnation
		return found, disk.WriteFile(fsys, path, found.format())
	}
	return found, nil
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
	return fmt.Appendf(nil, "version: 0\ntopic_id: %s", topicID)
}

// readTopicID reads partition.metadata.
func readTopicID(fsys disk.FS, path string) (string, error) {
	data, err := disk.ReadFile(fsys, path, maxMetaBytes)
	if err != nil {
		return "", err
	}
	first, second, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	topicID, ok := strings.CutPrefix(second, "topic_id: ")
	if strings.TrimSpace(first) != "version: 0" || !ok || !validTopicID(topicID) {
		return "", fmt.Errorf("%s: not a version and a topic id", path)
	}
	return topicID, nil
}

// validTopicID reports whether s can stand in partition.metadata: the 22
// characters of an id.
func validTopicID(s string) bool {
	id, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(id) == 16
}
