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
	"github.com/headwater/headwater/broker/zk"
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
	Sessions        []int64                      `json:"sessions,omitempty"` // with ZooKeeper, the latest last: what they hold is this broker's
}

type documentTopic struct {
	Name       string                      `json:"name"`
	ID         topic.ID                    `json:"id"`
	Config     map[string]string           `json:"overrides,omitempty"`
	Own        *zk.Own                     `json:"own,omitempty"`
	Partitions map[int32]cluster.Partition `json:"partitions"`
}

const documentVersion = 1

// ErrOtherBroker is returned for a data directory that is another broker's.
var ErrOtherBroker = errors.New("the data directory is another broker's")

// errDamaged is wrapped by the error for a document that cannot be understood.
var errDamaged = errors.New("damaged")

// load reads the document. One that is damaged is set aside: what it said comes
// again with the next session, but for whose the data is, which meta.properties
// says too.
func (r *Region) load() (image, *document, error) {
	doc, err := read(r.store)
	if errors.Is(err, errDamaged) {
		r.log.Error("what was known of the region is damaged; it comes again from ZooKeeper", "err", err)
		if err := r.store.SetAside(); err != nil {
			return image{}, nil, err
		}
		r.unsaved = true // the next start must know, too, that there was one
		doc, err = &document{ClusterID: r.identity.ClusterID(), BrokerID: r.identity.BrokerID(), ControllerEpoch: -1}, nil
	}
	if err != nil || doc == nil {
		return emptyImage(), nil, err
	}
	if doc.BrokerID != r.cfg.Self.ID {
		return image{}, nil, fmt.Errorf("%w: it has joined a region as broker %d, and this is broker %d", ErrOtherBroker, doc.BrokerID, r.cfg.Self.ID)
	}
	return r.imageOf(doc), doc, nil
}

func (r *Region) imageOf(doc *document) image {
	im := emptyImage()
	im.ClusterID, im.ControllerEpoch = doc.ClusterID, doc.ControllerEpoch
	im.AllBrokers, im.ThisBroker = doc.AllBrokers, doc.ThisBroker
	for _, b := range doc.Brokers {
		im.Brokers[b.ID] = b
	}
	im.Brokers[r.cfg.Self.ID] = r.cfg.Self
	for _, t := range doc.Topics {
		made := im.topic(t.Name)
		made.ID, made.Config, made.read = t.ID, t.Config, true
		if t.Own != nil {
			made.Own = *t.Own
		}
		if t.Partitions != nil {
			made.Partitions = t.Partitions
		}
	}
	if doc.Clients != nil {
		im.Clients = doc.Clients
	}
	return im
}

func read(store cluster.Store) (*document, error) {
	text, err := store.Load()
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
	return &doc, doc.check()
}

// check reports what a document cannot have been saved with.
func (doc *document) check() error {
	for _, o := range doc.Orders {
		if err := o.check(); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	for _, t := range doc.Topics {
		if err := topic.ValidateName(t.Name); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		for index := range t.Partitions {
			if index < 0 || index >= maxPartitions {
				return fmt.Errorf("%w: topic %s has a partition %d", errDamaged, t.Name, index)
			}
		}
	}
	return nil
}

// save writes the document as things are now.
func (r *Region) save() error {
	r.saving.Lock()
	defer r.saving.Unlock()
	text, alone, err := r.document()
	if err == nil {
		err = r.store.Save(cluster.Sealed(text))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.unsaved = true
		return fmt.Errorf("save what is known of the region: %w", err)
	}
	for _, known := range r.replicas {
		known.alone = alone[known]
	}
	return nil
}

// document is the text of it, and which replicas nobody else can lead by it.
func (r *Region) document() (text []byte, alone map[*replica]bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved = false // what changes from here on is not in it
	doc := document{
		Version: documentVersion, ClusterID: r.image.ClusterID, BrokerID: r.cfg.Self.ID, ControllerEpoch: r.image.ControllerEpoch,
		AllBrokers: r.image.AllBrokers, ThisBroker: r.image.ThisBroker, Clients: r.image.Clients, Sessions: r.sessions,
	}
	for _, id := range slices.Sorted(maps.Keys(r.image.Brokers)) {
		doc.Brokers = append(doc.Brokers, r.image.Brokers[id])
	}
	for _, name := range slices.Sorted(maps.Keys(r.image.Topics)) {
		if t := r.image.Topics[name]; t.shows() {
			doc.Topics = append(doc.Topics, documentTopic{name, t.ID, t.Config, &t.Own, t.Partitions})
		}
	}
	alone = map[*replica]bool{}
	for _, known := range r.replicas {
		doc.Orders = append(doc.Orders, known.order)
		alone[known] = known.order.alone(r.cfg.Self.ID)
	}
	slices.SortFunc(doc.Orders, func(a, b Order) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
	text, err = json.MarshalIndent(doc, "", " ")
	return text, alone, err
}

// Stored is what a data directory says of the region that it has joined, whether its
// document can be understood or not.
func Stored(store cluster.Store, identity Identity) (brokerID int32, joined bool, err error) {
	switch doc, err := read(store); {
	case errors.Is(err, errDamaged):
		return identity.BrokerID(), true, nil // Start tells
	case err != nil || doc == nil:
		return 0, false, err
	default:
		return doc.BrokerID, true, nil
	}
}
