package broker

import (
	"fmt"
	"strings"

	"github.com/headwater/headwater/broker/cluster"
)

// CaughtUp is nil while nothing keeps this broker from what the others of its region rely
// on it for: it is registered with ZooKeeper, and its replicas that follow are in the
// ISR of their partitions. A broker that is alone has nothing to catch up. What is
// offline is Ready's to tell.
func (b *Broker) CaughtUp() error {
	if b.joined == nil {
		return nil
	}
	behind, err := b.joined.region.Behind()
	if err != nil {
		return err
	}
	return notCaughtUp(behind)
}

// notCaughtUp says how many replicas are behind, and which; nil when none is.
func notCaughtUp(behind []cluster.TopicPartition) error {
	if len(behind) == 0 {
		return nil
	}
	var told []string
	for _, tp := range behind[:min(len(behind), maxTold)] {
		told = append(told, tp.String())
	}
	return fmt.Errorf("replicas here that are not in the ISR of their partition: %d (%s)", len(behind), someOf(told, len(behind)))
}

// someOf lists what is told of so many.
func someOf(told []string, all int) string {
	if more := all - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(told, ", ")
}
