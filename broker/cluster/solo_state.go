package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/headwater/headwater/broker/topic"
)

// Store keeps a small document so that a power cut leaves the old one or the new
// one.
type Store interface {
	Load() ([]byte, error) // nil, nil when nothing was saved yet
	Save(doc []byte) error
	SetAside() error // puts a damaged document where it does no harm
}

// soloState is the document of a Solo, in JSON.
type soloState struct {
	Version     int          `json:"version"` // soloVersion
	LeaderEpoch int32        `json:"leaderEpoch"`
	Topics      []soloTopic  `json:"topics"`
	Deleting    []topic.ID   `json:"deleting,omitempty"` // removed from Topics, perhaps not yet from the disk
	Defaults    soloDefaults `json:"defaults,omitzero"`  // of the topics' settings, changed at run time
	Quotas      soloQuotas   `json:"quotas,omitzero"`    // of clients, changed at run time
}

// soloDefaults are settings by the topics' names for them.
type soloDefaults struct {
	AllBrokers map[string]string `json:"allBrokers,omitempty"`
	ThisBroker map[string]string `json:"thisBroker,omitempty"`
}

type soloTopic struct {
	Name       string            `json:"name"`
	ID         topic.ID          `json:"id"`
	Partitions int32             `json:"partitions"`
	Overrides  map[string]string `json:"overrides,omitempty"`
	Device     bool              `json:"device,omitempty"` // a device's message caused it
}

const soloVersion = 1

// errDamaged is wrapped by loadState when the document cannot be understood.
var errDamaged = errors.New("list of topics is damaged")

func loadState(store Store) (soloState, error) {
	doc, err := store.Load()
	if err != nil || doc == nil {
		return soloState{}, err
	}
	if !isWhole(doc) {
		return soloState{}, fmt.Errorf("%w: its checksum does not hold", errDamaged)
	}
	var state soloState
	if err := json.Unmarshal(doc, &state); err != nil {
		return soloState{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if state.Version > soloVersion {
		return soloState{}, fmt.Errorf("list of topics has version %d, this headwater reads up to %d", state.Version, soloVersion)
	}
	for _, t := range state.Topics {
		if err := topic.ValidateName(t.Name); err != nil || t.Partitions < 1 {
			return soloState{}, fmt.Errorf("%w: topic %.60q with %d partitions", errDamaged, t.Name, t.Partitions)
		}
	}
	return state, nil
}

func (st soloState) save(store Store) error {
	st.Version = soloVersion
	doc, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	return store.Save(withChecksum(doc))
}

// checksumLine begins the last line of the document. A bit that flips in a name or
// an id would otherwise make it the list of other topics.
const checksumLine = ",\n  \"checksum\": \""

// withChecksum puts a last field into doc, an object: the CRC-32C, in hex, of all
// before its line.
func withChecksum(doc []byte) []byte {
	return seal(bytes.TrimSuffix(doc, []byte("\n}")))
}

func seal(body []byte) []byte {
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	return fmt.Appendf(bytes.Clone(body), "%s%08x\"\n}\n", checksumLine, sum)
}

// isWhole reports whether doc is as it was saved. One that has no checksum, an
// older headwater's, is taken to be.
func isWhole(doc []byte) bool {
	at := bytes.LastIndex(doc, []byte(checksumLine))
	return at < 0 || bytes.Equal(doc, seal(doc[:at]))
}

// topic returns the entry of that name, nil when there is none.
func (st *soloState) topic(name string) *soloTopic {
	i := slices.IndexFunc(st.Topics, func(t soloTopic) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &st.Topics[i]
}

// with returns a copy of st that has t too.
func (st soloState) with(t soloTopic) soloState {
	st.Topics = append(slices.Clone(st.Topics), t)
	return st
}

// replacing returns a copy of st in which t takes the place of the topic of its
// name.
func (st soloState) replacing(t soloTopic) soloState {
	st.Topics = slices.Clone(st.Topics)
	*st.topic(t.Name) = t
	return st
}

// without returns a copy of st in which the topic of that name is being deleted.
func (st soloState) without(t soloTopic) soloState {
	st.Topics = slices.DeleteFunc(slices.Clone(st.Topics), func(have soloTopic) bool { return have.Name == t.Name })
	st.Deleting = append(slices.Clone(st.Deleting), t.ID)
	return st
}

// deleted returns a copy of st in which t's deletion is done.
func (st soloState) deleted(t soloTopic) soloState {
	st.Deleting = slices.DeleteFunc(slices.Clone(st.Deleting), func(id topic.ID) bool { return id == t.ID })
	return st
}
