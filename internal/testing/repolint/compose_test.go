package repolint

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

const composeFile = "docker-compose.yml"

// compose reads the set-up as docker compose would, with nothing of this
// machine's environment.
func compose(t *testing.T, env ...string) *types.Project {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{filepath.Join(dir, composeFile)},
		cli.WithWorkingDirectory(dir), cli.WithEnv(env))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

var composeServices = []string{"home", "primary", "prometheus", "redis", "standby", "standby-2", "worker-primary", "worker-second"}

func TestComposeHasTheTwoSites(t *testing.T) {
	t.Parallel()
	project := compose(t)
	if got := slices.Sorted(slices.Values(project.ServiceNames())); !slices.Equal(got, composeServices) {
		t.Fatalf("got services %v, want %v", got, composeServices)
	}
	for name, want := range map[string][]string{
		"primary":        nil,
		"home":           nil,
		"redis":          nil,
		"prometheus":     nil,
		"standby":        {"primary"},
		"standby-2":      {"primary"},
		"worker-primary": {"primary", "redis"},
		"worker-second":  {"home", "redis", "standby", "worker-primary"},
	} {
		service := project.Services[name]
		if got := sorted(service.DependsOn); !slices.Equal(got, want) {
			t.Errorf("%s: depends on %v, want %v", name, got, want)
		}
		for other, dependency := range service.DependsOn {
			if dependency.Condition != types.ServiceConditionHealthy {
				t.Errorf("%s: depends on %s when it is %q; want healthy", name, other, dependency.Condition)
			}
		}
	}
}

func TestComposeServicesAreWatchedAndKept(t *testing.T) {
	t.Parallel()
	project := compose(t)
	for name, service := range project.Services {
		health := service.HealthCheck
		if health == nil || health.Disable || len(health.Test) < 2 || health.Test[0] != "CMD" {
			t.Errorf("%s: no healthcheck with a command of its own", name)
		}
		if service.Image == "" || strings.HasSuffix(service.Image, ":latest") {
			t.Errorf("%s: image %q names no version", name, service.Image)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" || port.Published != "" {
				t.Errorf("%s: port %d is published as %s:%q; want 127.0.0.1 and a port that Docker chooses", name, port.Target, port.HostIP, port.Published)
			}
		}
		if strings.HasPrefix(name, "worker-") || name == "redis" {
			continue
		}
		if !slices.ContainsFunc(service.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Type == "volume" }) {
			t.Errorf("%s: keeps its data in no volume", name)
		}
	}
}

func TestComposeWorkers(t *testing.T) {
	t.Parallel()
	project := compose(t)
	documented := map[string]bool{}
	if page := need(t).find("docs/configuration.md"); page != nil {
		documented = variablesDocumented(page.text)
	}
	for _, name := range []string{"worker-primary", "worker-second"} {
		worker := project.Services[name]
		if got, want := []string(worker.Command), []string{"run", "--migrate"}; !slices.Equal(got, want) {
			t.Errorf("%s: runs %v, want %v", name, got, want)
		}
		if worker.Build == nil || worker.Build.Dockerfile != dockerfile {
			t.Errorf("%s: is not built from %s", name, dockerfile)
		}
		if worker.StopGracePeriod == nil || *worker.StopGracePeriod <= 0 {
			t.Errorf("%s: has no time to stop in", name)
		}
		for variable, value := range worker.Environment {
			if value == nil || *value == "" {
				t.Errorf("%s: %s has no value", name, variable)
			}
			if len(documented) > 0 && !documented[variable] {
				t.Errorf("%s: %s is in no table of docs/configuration.md", name, variable)
			}
		}
	}
}

// A URL names a service that is there, and that the worker waits for; the
// database and the password are the ones that the service is made with.
func TestComposeURLsReachTheServices(t *testing.T) {
	t.Parallel()
	project := compose(t, "CASQ_DB_PASSWORD=secret1", "CASQ_REPLICATION_PASSWORD=secret2")
	for worker, hosts := range map[string]map[string]string{
		"worker-primary": {
			"DATABASE_URL": "primary:5432", "REPLICA_DATABASE_URLS": "standby:5432,standby-2:5432", "REDIS_URL": "redis:6379",
		},
		"worker-second": {
			"DATABASE_URL": "home:5432", "SOURCE_DATABASE_URL": "standby:5432",
			"SOURCE_REPORT_URL": "primary:5432", "REDIS_URL": "redis:6379",
		},
	} {
		environment := project.Services[worker].Environment
		for variable, host := range hosts {
			var found []string
			for one := range strings.SplitSeq(*environment[variable], ",") {
				parsed, err := url.Parse(one)
				if err != nil {
					t.Errorf("%s: %s: %v", worker, variable, err)
					continue
				}
				found = append(found, parsed.Host)
				if parsed.Scheme == "postgres" {
					wantItsOwn(t, worker+": "+variable, parsed, project.Services[parsed.Hostname()].Environment)
				}
			}
			if got := strings.Join(found, ","); got != host {
				t.Errorf("%s: %s has hosts %s, want %s", worker, variable, got, host)
			}
		}
	}
	for _, name := range []string{"primary", "home"} {
		server := project.Services[name]
		if *server.Environment["APP_USER"] == *server.Environment["POSTGRES_USER"] {
			t.Errorf("%s: the application would be a superuser", name)
		}
		if !slices.ContainsFunc(server.Volumes, func(v types.ServiceVolumeConfig) bool {
			return strings.HasSuffix(v.Source, "deploy/postgres/app-init.sh")
		}) {
			t.Errorf("%s: nothing makes the application's role", name)
		}
	}
	replication := *project.Services["primary"].Environment["REPLICATION_PASSWORD"]
	if other := *project.Services["standby"].Environment["REPLICATION_PASSWORD"]; other != replication || replication != "secret2" {
		t.Errorf("the standby's replication password is %q, the primary's %q, want secret2", other, replication)
	}
}

// wantItsOwn wants a URL to have the user, the password and the database that a server
// is made with.
func wantItsOwn(t *testing.T, what string, at *url.URL, server types.MappingWithEquals) {
	t.Helper()
	password, _ := at.User.Password()
	for part, pair := range map[string][2]string{
		"user":     {at.User.Username(), *server["APP_USER"]},
		"password": {password, *server["APP_PASSWORD"]},
		"database": {strings.TrimPrefix(at.Path, "/"), *server["POSTGRES_DB"]},
	} {
		if pair[0] != pair[1] || pair[0] == "" {
			t.Errorf("%s has %s %q, the server %q", what, part, pair[0], pair[1])
		}
	}
}

// What the second site copies is where the volumes are mounted: the source to
// be read only, the target of its own.
func TestComposeVolumesHoldBothSites(t *testing.T) {
	t.Parallel()
	project := compose(t)
	second := project.Services["worker-second"]
	image := need(t).find(dockerfile)
	for variable, readOnly := range map[string]bool{
		"ARTIFACT_SOURCE_URL":   true,
		"ARTIFACT_TARGET_URL":   false,
		"REPOSITORY_SOURCE_URL": true,
		"REPOSITORY_TARGET_DIR": false,
	} {
		folder := strings.TrimPrefix(*second.Environment[variable], "file://")
		i := slices.IndexFunc(second.Volumes, func(v types.ServiceVolumeConfig) bool {
			return folder == v.Target || strings.HasPrefix(folder, v.Target+"/")
		})
		if i < 0 {
			t.Errorf("%s: %s is in no volume", variable, folder)
			continue
		}
		volume := second.Volumes[i]
		if volume.ReadOnly != readOnly {
			t.Errorf("%s: volume %s is read-only: %v, want %v", variable, volume.Source, volume.ReadOnly, readOnly)
		}
		primary := mountedAt(project.Services["worker-primary"], volume.Source)
		if readOnly && primary != volume.Target {
			t.Errorf("%s: the primary site has volume %s at %q, want %q", variable, volume.Source, primary, volume.Target)
		}
		if !readOnly && primary != "" {
			t.Errorf("%s: volume %s belongs to the primary site too", variable, volume.Source)
		}
		if !strings.Contains(image.text, volume.Target) {
			t.Errorf("%s: %s does not make %s, so root would own it", variable, dockerfile, volume.Target)
		}
	}
}

func mountedAt(service types.ServiceConfig, volume string) string {
	for _, v := range service.Volumes {
		if v.Source == volume {
			return v.Target
		}
	}
	return ""
}

// Everything that is mounted from the repository is in it, and what is a
// program can be run.
func TestComposeMountsExist(t *testing.T) {
	t.Parallel()
	checked := 0
	for name, service := range compose(t).Services {
		for _, volume := range service.Volumes {
			if volume.Type != "bind" {
				continue
			}
			checked++
			info, err := os.Stat(volume.Source)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if strings.HasSuffix(volume.Source, ".sh") && info.Mode()&0o111 == 0 {
				t.Errorf("%s: %s cannot be run", name, volume.Source)
			}
		}
	}
	if checked != 7 {
		t.Errorf("checked %d mounts, want 7", checked)
	}
}

// Prometheus asks each worker where that answers, and reads the alerts that are mounted.
func TestComposePrometheusAsksTheWorkers(t *testing.T) {
	t.Parallel()
	project := compose(t)
	var config struct {
		RuleFiles []string `yaml:"rule_files"`
		Jobs      []struct {
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(need(t).find("deploy/prometheus.yml").text), &config); err != nil {
		t.Fatal(err)
	}
	var asked, workers []string
	for _, job := range config.Jobs {
		for _, static := range job.Static {
			asked = append(asked, static.Targets...)
		}
	}
	for name, service := range project.Services {
		if strings.HasPrefix(name, "worker-") {
			workers = append(workers, name+*service.Environment["HTTP_ADDR"])
		}
	}
	slices.Sort(workers)
	slices.Sort(asked)
	if !slices.Equal(asked, workers) {
		t.Errorf("asks %v, want %v", asked, workers)
	}
	for _, file := range config.RuleFiles {
		if !slices.ContainsFunc(project.Services["prometheus"].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Target == "/etc/prometheus/"+file && strings.HasSuffix(v.Source, "deploy/"+file)
		}) {
			t.Errorf("reads %s, which is not mounted", file)
		}
	}
}

// A default password says what it is for.
func TestComposeDefaultsAreForDevelopment(t *testing.T) {
	t.Parallel()
	checked := 0
	for name, service := range compose(t).Services {
		for variable, value := range service.Environment {
			if !strings.Contains(variable, "PASSWORD") {
				continue
			}
			checked++
			if value == nil || *value != "development-only" {
				t.Errorf("%s: %s has another default than development-only", name, variable)
			}
		}
	}
	if checked == 0 {
		t.Error("checked no password")
	}
}

// The loader must refuse what docker compose would, or the tests above say
// little.
func TestComposeLoaderRefusesNonsense(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"unknown service": "services: {a: {image: x, depends_on: [b]}}\n",
		"unknown key":     "services: {a: {image: x, comand: y}}\n",
		"unknown volume":  "services: {a: {image: x, volumes: ['data:/v']}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "compose.yml")
			if err := os.WriteFile(file, []byte("name: x\n"+text), 0o600); err != nil {
				t.Fatal(err)
			}
			options, err := cli.NewProjectOptions([]string{file})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := options.LoadProject(t.Context()); err == nil {
				t.Error("got no error")
			}
		})
	}
}
