-- Health of a QuantizedModel for Argo CD, from the conditions that docs/gitops.md explains.
--   Healthy      the target serves
--   Progressing  guardbit is at work, or has not seen the last change yet
--   Suspended    a person holds it: spec.paused or spec.suspend
--   Degraded     a person must act, or nothing serves
local function result(status, message)
  return {status = status, message = message}
end

local model = obj.status
if model == nil or model.conditions == nil then
  return result("Progressing", "guardbit has not seen it yet")
end
if model.observedGeneration ~= nil and model.observedGeneration ~= obj.metadata.generation then
  return result("Progressing", "guardbit has not seen the last change yet")
end

local conditions = {}
for _, condition in ipairs(model.conditions) do
  conditions[condition.type] = condition
end
local function is(kind, status)
  return conditions[kind] ~= nil and conditions[kind].status == status
end

if model.phase == "Suspended" then
  return result("Suspended", "spec.suspend is set: guardbit leaves everything as it is")
end
if is("Stalled", "True") then
  return result("Degraded", conditions.Stalled.message)
end
-- At the first install nothing serves yet, and nothing is wrong.
if is("Available", "False") and model.phase ~= "Bootstrapping" then
  return result("Degraded", conditions.Available.message)
end
if model.phase == "Paused" then
  return result("Suspended", "spec.paused is set: the weights are frozen, a rollback still works")
end
if is("EvidenceAvailable", "False") then
  return result("Progressing", conditions.EvidenceAvailable.message)
end
if is("Ready", "True") then
  return result("Healthy", conditions.Ready.message)
end
if conditions.Progressing ~= nil then
  return result("Progressing", conditions.Progressing.message)
end
return result("Progressing", "guardbit is at work")
