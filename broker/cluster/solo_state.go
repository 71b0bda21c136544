package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/topic"
)

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
	if !IsWhole(doc) {
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
	return store.Save(Sealed(doc))
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
