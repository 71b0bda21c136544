package appliance

import (
	"log/slog"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/bridge/subject"
)

// warnOfRules logs each rule that will not do what it says, as things stand.
// partitions tells of topics that exist.
func warnOfRules(cfg config.Config, table *subject.Table, partitions func(topic string) (int32, bool), log *slog.Logger) {
	for _, d := range table.Doubts(subject.World{
		Partitions:        partitions,
		AutoCreate:        cfg.Kafka.AutoCreateTopics,
		DefaultPartitions: cfg.Kafka.DefaultPartitions,
		MaxPayload:        cfg.NATS.MaxPayload,
	}) {
		log.Warn("subject rule will not do what it says", "rule", d.Rule, "subject", cfg.Bridge.Rules[d.Rule].Subject, "doubt", d.Text)
	}
}
