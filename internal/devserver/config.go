package devserver

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
)

// clusterName is the name of the one cluster there is.
const clusterName = "active"

// services are the parts of the server, all in this process.
var services = []primitives.ServiceName{
	primitives.FrontendService, primitives.HistoryService, primitives.MatchingService, primitives.WorkerService,
}

// ports are what the server listens on.
type ports struct {
	grpc map[primitives.ServiceName]int
	http int // the frontend's HTTP API
	ui   int
}

// frontend is the address that clients dial.
func (p ports) frontend() string { return hostPort(p.grpc[primitives.FrontendService]) }

func hostPort(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// choosePorts makes sure that the ports asked for are free and finds others for the rest. The UI server
// would end the process if its port were taken.
func choosePorts(o Options) (ports, error) {
	p := ports{grpc: map[primitives.ServiceName]int{}}
	var held []net.Listener // all at once, so that no port is chosen twice
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	take := func(port int, flag string) (int, error) {
		if port < 0 || port > 65535 {
			return 0, fmt.Errorf("devserver: %s: %d is not a port", flag, port)
		}
		l, err := net.Listen("tcp", hostPort(port))
		if errors.Is(err, syscall.EADDRINUSE) {
			return 0, fmt.Errorf("devserver: %s: %s is in use by another program", flag, hostPort(port))
		}
		if err != nil {
			return 0, fmt.Errorf("devserver: %s: %w", flag, err)
		}
		held = append(held, l)
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	var err error
	for _, s := range services {
		port := 0
		if s == primitives.FrontendService {
			port = o.Port
		}
		if p.grpc[s], err = take(port, "--port"); err != nil {
			return p, err
		}
	}
	if p.http, err = take(0, "--port"); err != nil {
		return p, err
	}
	if o.UIPort >= 0 {
		p.ui, err = take(o.UIPort, "--ui-port")
	}
	return p, err
}

// dynamic are the server's settings that differ from those of a cluster. The first lets a workflow's
// next step start at once instead of at one of 20 polls a second; the limits on the database are meant
// for one that is shared.
var dynamic = dynamicconfig.StaticClient{
	dynamicconfig.MakeKey("history.transferProcessorMaxPollRPS"):            1000,
	dynamicconfig.MakeKey("history.persistenceMaxQPS"):                      45000,
	dynamicconfig.MakeKey("frontend.persistenceMaxQPS"):                     10000,
	dynamicconfig.MakeKey("system.forceSearchAttributesCacheRefreshOnRead"): true,
	dynamicconfig.HistoryCacheHostLevelMaxSize.Key():                        8096,
	dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key():        100,
}

// newServer returns the server, not yet started.
func newServer(database *config.SQL, p ports, log *logFile) (temporal.Server, error) {
	var c config.Config
	c.Global.Membership.MaxJoinDuration = 30 * time.Second
	c.Global.Membership.BroadcastAddress = loopback
	c.Persistence = config.Persistence{
		DefaultStore: "db", VisibilityStore: "db", NumHistoryShards: 1,
		DataStores: map[string]config.DataStore{"db": {SQL: database}},
	}
	id := sha256.Sum256([]byte(database.DatabaseName))
	c.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10, MasterClusterName: clusterName, CurrentClusterName: clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
			Enabled: true, InitialFailoverVersion: 1, RPCAddress: p.frontend(), HTTPAddress: hostPort(p.http),
			ClusterID: uuid.NewSHA1(uuid.NameSpaceURL, id[:]).String(),
		}},
	}
	c.DCRedirectionPolicy.Policy = "noop"
	c.Archival.History.State, c.Archival.Visibility.State = config.ArchivalDisabled, config.ArchivalDisabled
	c.NamespaceDefaults.Archival.History.State = config.ArchivalDisabled
	c.NamespaceDefaults.Archival.Visibility.State = config.ArchivalDisabled
	c.PublicClient.HostPort = p.frontend()
	c.Services = map[string]config.Service{}
	hosts := map[primitives.ServiceName]static.Hosts{}
	for _, s := range services {
		rpc := config.RPC{BindOnIP: loopback, GRPCPort: p.grpc[s]}
		if s == primitives.FrontendService {
			rpc.HTTPPort = p.http
		}
		c.Services[string(s)] = config.Service{RPC: rpc}
		hosts[s] = static.SingleLocalHost(hostPort(p.grpc[s]))
	}
	authorizer, err := authorization.GetAuthorizerFromConfig(&c.Global.Authorization)
	if err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	claims, err := authorization.GetClaimMapperFromConfig(&c.Global.Authorization, log)
	if err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	srv, err := temporal.NewServer(
		temporal.WithConfig(&c),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(log),
		temporal.WithAuthorizer(authorizer),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return claims }),
		temporal.WithDynamicConfigClient(dynamic),
	)
	if err != nil {
		return nil, fmt.Errorf("devserver: %w", err)
	}
	return srv, nil
}
