//! Which broker devices are sent to, and the embedded one's port.

use cloud_sync_protocol::BrokerUrl;

use super::{Fleet, read_text};
use crate::error::FleetError;
use crate::remembered::{BrokerAddress, RememberedBroker};

impl Fleet {
    /// What is remembered about brokers.
    pub fn broker(&self) -> &RememberedBroker {
        &self.broker
    }

    /// Remembers something else about brokers.
    pub fn remember_broker(&mut self, broker: RememberedBroker) -> Result<(), FleetError> {
        if broker != self.broker {
            broker.write(&self.folder)?;
            self.broker = broker;
        }
        Ok(())
    }

    /// The broker that a new device is sent to: the named one, else the one that serve used last, else the one of
    /// `fleet.toml`, else the embedded one, whose port is chosen now if it was not before.
    pub fn broker_for_devices(
        &mut self,
        url: Option<BrokerUrl>,
        ca_pem: Option<String>,
    ) -> Result<BrokerAddress, FleetError> {
        let own_ca = |fleet: &Fleet| read_text(&fleet.folder.device_ca());
        if let Some(url) = url {
            let ca_pem = ca_pem.map_or_else(|| own_ca(self), Ok)?;
            return Ok(BrokerAddress { url, ca_pem });
        }
        let mut address = match (&self.broker.last, &self.settings.broker) {
            (Some(last), _) => last.clone(),
            (None, Some(broker)) => {
                let ca_pem = match &broker.ca {
                    Some(path) => read_text(&self.folder.path().join(path))?,
                    None => own_ca(self)?,
                };
                BrokerAddress { url: broker.url.clone(), ca_pem }
            }
            (None, None) => {
                let port = self.embedded_port()?;
                BrokerAddress { url: BrokerUrl::encrypted("127.0.0.1", port)?, ca_pem: own_ca(self)? }
            }
        };
        if let Some(ca_pem) = ca_pem {
            address.ca_pem = ca_pem;
        }
        Ok(address)
    }

    /// The embedded broker's port, chosen at the first question and kept from then on.
    #[cfg(feature = "embedded-broker")]
    pub fn embedded_port(&mut self) -> Result<u16, FleetError> {
        if let Some(port) = self.broker.embedded_port {
            return Ok(port);
        }
        let port = crate::broker::free_port()?;
        let broker = RememberedBroker { embedded_port: Some(port), ..self.broker.clone() };
        self.remember_broker(broker)?;
        Ok(port)
    }

    /// This build has no embedded broker.
    #[cfg(not(feature = "embedded-broker"))]
    pub fn embedded_port(&mut self) -> Result<u16, FleetError> {
        Err(FleetError::Usage {
            message: "find a broker: none is named, and this build has no embedded one".to_owned(),
            hint: "name one with --broker or in fleet.toml".to_owned(),
        })
    }
}
