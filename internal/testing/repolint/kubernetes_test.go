package repolint

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// object is as much of a manifest as is looked at.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name, Namespace string }
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		Replicas int
		Template struct{ Spec pod }
	}
}

type pod struct {
	Grace    int `yaml:"terminationGracePeriodSeconds"`
	Security struct {
		NonRoot bool `yaml:"runAsNonRoot"`
		User    int  `yaml:"runAsUser"`
	} `yaml:"securityContext"`
	Containers []container
	Volumes    []struct {
		Name   string
		Secret struct {
			Name string `yaml:"secretName"`
			Mode int    `yaml:"defaultMode"`
		}
		Claim struct {
			Name string `yaml:"claimName"`
		} `yaml:"persistentVolumeClaim"`
	}
}

type probe struct {
	HTTPGet struct {
		Path string
		Port string
	} `yaml:"httpGet"`
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name, Value string }
	Ports       []struct{ Name string }
	Startup     probe `yaml:"startupProbe"`
	Liveness    probe `yaml:"livenessProbe"`
	Readiness   probe `yaml:"readinessProbe"`
	Mounts      []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
	Security struct {
		Escalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly   bool  `yaml:"readOnlyRootFilesystem"`
	} `yaml:"securityContext"`
}

// manifests reads all objects below deploy/kubernetes, as kind/name.
func manifests(t *testing.T) map[string]object {
	t.Helper()
	objects := map[string]object{}
	for _, f := range need(t).files {
		if !strings.HasPrefix(f.path, "deploy/kubernetes/") || path.Ext(f.path) != ".yaml" {
			continue
		}
		decoder := yaml.NewDecoder(bytes.NewBufferString(f.text))
		for {
			var o object
			err := decoder.Decode(&o)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.path, err)
			}
			if o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "" || o.Kind != "Namespace" && o.Metadata.Namespace != "casq" {
				t.Errorf("%s: %+v is not told apart from others", f.path, o)
			}
			objects[o.Kind+"/"+o.Metadata.Name] = o
		}
	}
	return objects
}

// A database that is away restarts nobody: only /livez, which asks none, ends a worker.
func TestKubernetesProbes(t *testing.T) {
	t.Parallel()
	spec := manifests(t)["Deployment/casq-worker"].Spec.Template.Spec
	if len(spec.Containers) != 1 || spec.Grace <= 10 {
		t.Fatalf("%d containers, %d s to stop in; want 1, and more than the 10 that a worker takes", len(spec.Containers), spec.Grace)
	}
	worker := spec.Containers[0]
	for what, got := range map[string][2]string{
		"startup":   {worker.Startup.HTTPGet.Path, "/livez"},
		"liveness":  {worker.Liveness.HTTPGet.Path, "/livez"},
		"readiness": {worker.Readiness.HTTPGet.Path, "/readyz"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s asks %s, want %s", what, got[0], got[1])
		}
	}
	if !slices.Equal(worker.Args, []string{"run"}) {
		t.Errorf("runs %v: migrations are the owner's, and a job's", worker.Args)
	}
}

// What runs is nobody, writes nowhere but where it is meant to, and gets passwords from
// files that exist, by variables that exist.
func TestKubernetesPods(t *testing.T) {
	t.Parallel()
	objects := manifests(t)
	documented := variablesDocumented(need(t).find("docs/configuration.md").text)
	checked := 0
	for name, o := range objects {
		spec := o.Spec.Template.Spec
		for _, c := range spec.Containers {
			checked++
			if !spec.Security.NonRoot || spec.Security.User != 10001 || !c.Security.ReadOnly || c.Security.Escalation == nil || *c.Security.Escalation {
				t.Errorf("%s: may too much: %+v %+v", name, spec.Security, c.Security)
			}
			if tag := strings.SplitN(c.Image, ":", 2); len(tag) != 2 || tag[1] == "latest" {
				t.Errorf("%s: image %q names no version", name, c.Image)
			}
			wantSecrets(t, name, objects, spec, c, documented)
		}
	}
	if checked != 2 {
		t.Errorf("checked %d containers, want 2", checked)
	}
	if !strings.Contains(need(t).find(dockerfile).text, "--uid 10001") {
		t.Error("the image has another user")
	}
}

func wantSecrets(t *testing.T, name string, objects map[string]object, spec pod, c container, documented map[string]bool) {
	t.Helper()
	files := map[string]bool{}
	for _, volume := range spec.Volumes {
		if claim := volume.Claim.Name; claim != "" && objects["PersistentVolumeClaim/"+claim].Kind == "" {
			t.Errorf("%s: there is no claim %s", name, claim)
		}
		if volume.Secret.Name == "" {
			continue
		}
		secret := objects["Secret/"+volume.Secret.Name]
		if volume.Secret.Mode != 0o440 || len(secret.StringData) == 0 {
			t.Errorf("%s: secret %s has mode %o and %d keys", name, volume.Secret.Name, volume.Secret.Mode, len(secret.StringData))
		}
		for _, mount := range c.Mounts {
			for key := range secret.StringData {
				files[mount.MountPath+"/"+key] = files[mount.MountPath+"/"+key] || mount.Name == volume.Name
			}
		}
	}
	for _, v := range c.Env {
		variable, fromFile := strings.CutSuffix(v.Name, "_FILE")
		if !documented[variable] {
			t.Errorf("%s: %s is in no table of docs/configuration.md", name, v.Name)
		}
		if fromFile != files[v.Value] || strings.Contains(v.Value, "://") && strings.Contains(v.Value, "@") {
			t.Errorf("%s: %s is %s: a password's file is in a secret, and is nowhere else", name, v.Name, v.Value)
		}
	}
}
