//! Services of the host, as the path has them: listeners in a space of each connector's own, where no packet comes from.

use super::connector_id;
use crate::config::{Config, OnIdle, Service};
use crate::pool::Pool;
use std::collections::BTreeMap;
use weir_dataplane::image::GroupImage;
use weir_path::tables::{Connector, ConnectorId, Forward, GroupId, Listener, Target, Vip};

/// Adds the services of every connector that is in the pool: each a listener, and a group of one target.
pub(super) fn compile(
    config: &Config,
    pool: &Pool,
    listeners: &mut BTreeMap<Listener, Forward>,
    groups: &mut Vec<GroupImage>,
) {
    let mut numbers: BTreeMap<(ConnectorId, Vip, [u8; 2]), GroupId> = BTreeMap::new();
    for (place, connector) in config.connectors.iter().enumerate() {
        let Some(id) = connector_id(place, config, pool) else { continue };
        let tells_idle = u8::from(connector.settings.on_idle == OnIdle::BothEnds);
        for service in &connector.services {
            let Some(target) = target(service, config, pool) else { continue };
            let there = Vip { address: target.address, zone: Connector::services(target.connector) };
            let group = *numbers.entry((target.connector, there, target.port.0)).or_insert_with(|| {
                groups.push(GroupImage { targets: vec![target], cells: vec![0] });
                // At most MAX_GROUPS, as the configuration was checked.
                GroupId((groups.len() - 1) as u32)
            });
            let vip = Vip { address: service.address.value, zone: Connector::services(id) };
            for transport in service.protocol.transports() {
                let heard = Listener { vip, port: service.port, protocol: transport.number(), zero: 0 };
                let forward = Forward::to(group, config.timeouts.idle(*transport));
                listeners.insert(heard, Forward { tells_idle, ..forward });
            }
        }
    }
}

/// Where a service is; nowhere while nobody leads there.
fn target(service: &Service, config: &Config, pool: &Pool) -> Option<Target> {
    Some(Target::at(service.to, service.to_port, connector_id(service.via, config, pool)?))
}

#[cfg(test)]
mod tests;
