package zk

import (
	"context"
	"strings"

	"github.com/go-zookeeper/zk"
)

// The nodes of the contract.
const (
	clusterIDPath        = "/cluster/id"
	brokerIDsPath        = "/brokers/ids"
	brokerTopicsPath     = "/brokers/topics"
	brokerSeqIDPath      = "/brokers/seqid"
	controllerPath       = "/controller"
	controllerEpochPath  = "/controller_epoch"
	configPath           = "/config"
	configChangesPath    = "/config/changes"
	deletionsPath        = "/admin/delete_topics"
	reassignmentsPath    = "/admin/reassign_partitions"
	electionsPath        = "/admin/preferred_replica_election"
	isrNotificationsPath = "/isr_change_notification"
	logDirEventsPath     = "/log_dir_event_notification"
	producerIDsPath      = "/latest_producer_id_block"
	consumersPath        = "/consumers"
	featurePath          = "/feature"
)

// standing are the nodes that every broker makes when it finds them missing.
var standing = []string{
	consumersPath, brokerIDsPath, brokerTopicsPath, configChangesPath, deletionsPath, brokerSeqIDPath,
	isrNotificationsPath, producerIDsPath, logDirEventsPath,
	"/config/topics", "/config/clients", "/config/users", "/config/brokers", "/config/ips",
}

// EnsurePaths makes the nodes that stand in every cluster.
func (s *Session) EnsurePaths(ctx context.Context) error {
	return each(ctx, len(standing), func(ctx context.Context, i int) error { return s.ensure(ctx, standing[i]) })
}

// ensureChroot makes the node below which all others are, and those above it.
func (s *Session) ensureChroot(ctx context.Context) error {
	for i := 1; i <= len(s.chroot); i++ {
		if i < len(s.chroot) && s.chroot[i] != '/' {
			continue
		}
		dir := s.chroot[:i]
		_, err := read(ctx, s, "create "+dir, func(c *zk.Conn) (string, error) {
			return c.Create(dir, nil, zk.FlagPersistent, s.acl("/"))
		})
		if err != nil && !isNodeExists(err) {
			return err
		}
	}
	return nil
}

// acl is who may do what with a node.
func (s *Session) acl(node string) []zk.ACL {
	if !s.cfg.SetACL || node == consumersPath || strings.HasPrefix(node, consumersPath+"/") {
		return zk.WorldACL(zk.PermAll)
	}
	acl := zk.AuthACL(zk.PermAll)
	for _, secret := range []string{"/config/users", "/config/brokers", "/delegation_token"} {
		if node == secret || strings.HasPrefix(node, secret+"/") {
			return acl
		}
	}
	return append(acl, zk.WorldACL(zk.PermRead)...)
}
