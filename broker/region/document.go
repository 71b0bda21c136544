package region

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

// document is what is kept on disk of the region, in JSON. It is a memory of what
// ZooKeeper and the controller said: should it be lost, they say it again.
type document struct {
	Version         int                          `json:"version"` // documentVersion
	ClusterID       string                       `json:"clusterId"`
	BrokerID        int32                        `json:"brokerId"`
	ControllerEpoch int32                        `json:"controllerEpoch"`
	Brokers         []cluster.Broker             `json:"brokers"`
	Topics          []documentTopic              `json:"topics"`
	Orders          []Order                      `json:"orders"` // of this broker's replicas
	AllBrokers      map[string]string            `json:"allBrokers,omitempty"`
	ThisBroker      map[string]string            `json:"thisBroker,omitempty"`
	Clients         map[string]map[string]string `json:"clients,omitempty"`
}

type documentTopic struct {
	Name       string                      `json:"name"`
	ID         topic.ID                    `json:"id"`
	Overrides  map[string]string           `json:"overrides,omitempty"`
	Partitions map[int32]cluster.Partition `json:"partitions"`
}

const documentVersion = 1

// errDamaged is wrapped by the error for a document that cannot be understood.
var errDamaged = errors.New("damaged")

// load reads the document. One that is damaged is set aside: what it said comes
// again with the next session.
func (r *Region) load() (image, []Order, error) {
	doc, err := r.read()
	if errors.Is(err, errDamaged) {
		r.log.Error("what was known of the region is damaged; it comes again from ZooKeeper", "err", err)
		if err := r.store.SetAside(); err != nil {
			return image{}, nil, err
		}
		doc, err = nil, nil
	}
	if err != nil || doc == nil {
		return emptyImage(), nil, err
	}
	if doc.BrokerID != r.cfg.Self.ID {
		return image{}, nil, fmt.Errorf("this data directory has joined a region as broker %d, and this is broker %d", doc.BrokerID, r.cfg.Self.ID)
	}
	im := emptyImage()
	im.ClusterID, im.ControllerEpoch = doc.ClusterID, doc.ControllerEpoch
	im.AllBrokers, im.ThisBroker = doc.AllBrokers, doc.ThisBroker
	for _, b := range doc.Brokers {
		im.Brokers[b.ID] = b
	}
	im.Brokers[r.cfg.Self.ID] = r.cfg.Self
	for _, t := range doc.Topics {
		made := im.topic(t.Name)
		made.ID, made.Overrides = t.ID, t.Overrides
		if t.Partitions != nil {
			made.Partitions = t.Partitions
		}
	}
	if doc.Clients != nil {
		im.Clients = doc.Clients
	}
	return im, doc.Orders, nil
}

func (r *Region) read() (*document, error) {
	text, err := r.store.Load()
	if err != nil || text == nil {
		return nil, err
	}
	if !cluster.IsWhole(text) {
		return nil, fmt.Errorf("%w: its checksum does not hold", errDamaged)
	}
	var doc document
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if doc.Version > documentVersion {
		return nil, fmt.Errorf("what is known of the region has version %d, this headwater reads up to %d", doc.Version, documentVersion)
	}
	for _, t := range doc.Topics {
		if err := topic.ValidateName(t.Name); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if len(t.Partitions) > maxPartitions {
			return nil, fmt.Errorf("%w: topic %s has %d partitions", errDamaged, t.Name, len(t.Partitions))
		}
	}
	return &doc, nil
}

// save writes the document. r.mu is held: what is on disk is never older than an
// order that was answered.
func (r *Region) save() error {
	doc := document{
		Version: documentVersion, ClusterID: r.image.ClusterID, BrokerID: r.cfg.Self.ID, ControllerEpoch: r.image.ControllerEpoch,
		AllBrokers: r.image.AllBrokers, ThisBroker: r.image.ThisBroker, Clients: r.image.Clients,
	}
	for _, id := range slices.Sorted(maps.Keys(r.image.Brokers)) {
		doc.Brokers = append(doc.Brokers, r.image.Brokers[id])
	}
	for _, name := range slices.Sorted(maps.Keys(r.image.Topics)) {
		t := r.image.Topics[name]
		doc.Topics = append(doc.Topics, documentTopic{name, t.ID, t.Overrides, t.Partitions})
	}
	for _, known := range r.replicas {
		doc.Orders = append(doc.Orders, known.order)
	}
	slices.SortFunc(doc.Orders, func(a, b Order) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return err
	}
	if err := r.store.Save(cluster.Sealed(text)); err != nil {
		return fmt.Errorf("save what is known of the region: %w", err)
	}
	r.unsaved = false
	return nil
}

// StoredBrokerID is the id with which a data directory has joined a region.
func StoredBrokerID(store cluster.Store) (id int32, ok bool, err error) {
	r := Region{store: store}
	doc, err := r.read()
	if errors.Is(err, errDamaged) || doc == nil {
		return 0, false, nil // Start tells
	}
	return doc.BrokerID, err == nil, err
}
