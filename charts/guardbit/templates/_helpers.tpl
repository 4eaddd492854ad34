{{- define "guardbit.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The release's name where it says guardbit already. */}}
{{- define "guardbit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "guardbit.name" .) .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "guardbit.name" .) | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "guardbit.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "guardbit.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "guardbit.selector" -}}
app.kubernetes.io/name: {{ include "guardbit.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "guardbit.labels" -}}
{{ include "guardbit.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "guardbit.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Ports of all servers that may be asked, as a JSON list. */}}
{{- define "guardbit.prometheusPorts" -}}
{{- $ports := .Values.networkPolicy.prometheus.ports -}}
{{- range concat (compact (list .Values.prometheusUrl)) .Values.allowedPrometheusUrls -}}
{{- $url := urlParse . -}}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports ($named | default (ternary "443" "80" (eq $url.scheme "https"))) -}}
{{- end -}}
{{- $texts := list -}}
{{- range $ports }}{{ $texts = append $texts (toString .) }}{{ end -}}
{{- $texts | uniq | sortAlpha | toJson -}}
{{- end }}

{{/* What the controller may do where it watches. It cannot read Secrets. */}}
{{- define "guardbit.rules" -}}
- {apiGroups: [guardbit.dev], resources: [quantizedmodels], verbs: [get, list, watch, patch]}
- {apiGroups: [guardbit.dev], resources: [quantizedmodels/status], verbs: [update, patch]}
# Owner references that block the deletion of their owner need this.
- {apiGroups: [guardbit.dev], resources: [quantizedmodels/finalizers], verbs: [update]}
# What people do, and the records of what was decided. It creates an action only to see that admission refuses it.
- {apiGroups: [guardbit.dev], resources: [precisionactions], verbs: [get, list, watch, create, delete]}
- {apiGroups: [guardbit.dev], resources: [precisionactions/status], verbs: [update, patch]}
- {apiGroups: [guardbit.dev], resources: [precisiondecisions], verbs: [get, list, create, delete]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [services], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [gateway.networking.k8s.io], resources: [httproutes], verbs: [get, list, watch, create, patch, delete]}
# Of comparers: whom they may talk to.
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch, create, patch, delete]}
# Plain Service mode takes a label off the candidate's pods.
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch, patch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
{{- end }}

{{/* The version of the API that keeps who changed a model; empty where the cluster has none. */}}
{{- define "guardbit.authorsVersion" -}}
{{- if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
admissionregistration.k8s.io/v1
{{- else if .Values.governance.mutatingBeta -}}
admissionregistration.k8s.io/v1beta1
{{- end -}}
{{- end }}
