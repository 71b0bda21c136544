package appliance

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/zk"
)

// noDurable is what clients of JetStream are told. Their positions would be committed to
// whichever broker coordinates the group, and that is seldom this one.
const noDurable = "durable consumers in a region: consume durably with a Kafka consumer group, or here without a durable name"

// regionConfig is what the broker is told of its region. What is wrong with the
// settings is told as config.Problems.
func regionConfig(cfg config.Region) (broker.RegionConfig, error) {
	out := broker.RegionConfig{
		BrokerID: cfg.BrokerID, Listener: cfg.Listener, Rack: cfg.Rack, Gateway: cfg.Role == config.RoleGateway,
		ReplicationFactor: cfg.ReplicationFactor, MaxReplicaLag: cfg.ReplicaLagTime, ReplicaRate: cfg.ReplicaRate,
		Mirror: group.DefaultMirrorConfig(),
	}
	if cfg.ZooKeeper == "" {
		return out, nil
	}
	if cfg.BrokerID == config.BrokerIDAuto {
		out.BrokerID = commitlog.AnyBroker
	}
	if cfg.MirrorGroups != "" {
		if err := group.CheckPattern(cfg.MirrorGroups); err != nil {
			return out, regionProblem("mirrorGroups", err)
		}
		out.Mirror.Groups = []string{cfg.MirrorGroups}
	}
	out.ZooKeeper = zk.DefaultConfig()
	out.ZooKeeper.Connect, out.ZooKeeper.SessionTimeout = cfg.ZooKeeper, cfg.SessionTimeout
	out.ZooKeeper.Digest, out.ZooKeeper.SetACL = cfg.Digest, cfg.SetACL
	if _, _, err := zk.ParseConnect(cfg.ZooKeeper); err != nil {
		return out, regionProblem("zookeeper", fmt.Errorf("%q: %w; allowed is host:port,host:port/chroot", cfg.ZooKeeper, err))
	}
	if cfg.Digest != "" && !strings.Contains(cfg.Digest, ":") {
		return out, regionProblem("zookeeperDigest", errors.New("has no colon; allowed is user:password"))
	}
	if cfg.SetACL && cfg.Digest == "" {
		return out, regionProblem("zookeeperAcl", errors.New("is true without region.zookeeperDigest: nobody could write then; allowed is false, or both"))
	}
	var err error
	out.ZooKeeper.TLS, err = zookeeperTLS(cfg.TLS)
	return out, err
}

func regionProblem(key string, err error) error {
	return config.Problems{{Key: "region." + key, Text: err.Error()}}
}

// zookeeperTLS is how ZooKeeper is talked to, nil for in the clear.
func zookeeperTLS(cfg config.ZooKeeperTLS) (*tls.Config, error) {
	if !cfg.Enabled {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		text, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, regionProblem("zookeeperTls.ca", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, regionProblem("zookeeperTls.ca", fmt.Errorf("%s has no certificate; allowed is a PEM file", cfg.CA))
		}
	}
	if cfg.Cert != "" || cfg.Key != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, regionProblem("zookeeperTls.cert", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
